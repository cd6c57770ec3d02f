"""Plans of batches that may be sent: their sizes, the fleet that they will meet, when they end and what they cost."""
