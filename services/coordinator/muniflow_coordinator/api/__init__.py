"""The coordinator's read-only HTTP API and its gauges."""
