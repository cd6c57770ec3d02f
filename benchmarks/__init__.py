"""What muniflow is measured with: `python -m benchmarks --help`, from the root of the repository."""
