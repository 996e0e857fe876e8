"""Frameworks on top of loom: each is a module that is imported by its own name, and needs that framework installed."""
