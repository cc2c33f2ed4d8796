"""What streaming costs, measured against a floor: `python -m benchmarks.run` from the root of the repository."""
