"""The resize operation."""
