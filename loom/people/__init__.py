"""People: who may answer, what they saw, and whether they look at what they answer."""
