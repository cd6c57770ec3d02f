"""The split operation."""
