"""The batches that run now: images, turns, windows, rates."""
