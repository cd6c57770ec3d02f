"""The blur operation."""
