"""What loom costs, measured as ratios to the raw limit of the same run: `python -m benchmarks`."""
