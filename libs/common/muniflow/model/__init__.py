"""Batches, messages and the rules about them. Pure: nothing here does I/O."""
