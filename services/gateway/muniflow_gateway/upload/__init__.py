"""Takes forms and documents in."""
