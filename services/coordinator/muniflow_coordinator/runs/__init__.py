"""Running batches: images, turns, windows, rates."""
