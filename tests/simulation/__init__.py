"""A deterministic simulation of loom: the real runtime on virtual time, with injected faults, one seed at a time."""
