"""The coordinator's read-only HTTP interface and its gauges."""
