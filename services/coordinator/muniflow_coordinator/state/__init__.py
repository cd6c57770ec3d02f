"""The store of state: what the coordinator must not forget (`types` is the interface, `sql` the one implementation)."""

from muniflow_coordinator.state.types import BatchRow, Commit, Counts, ImageRow, NewBatch, State

__all__ = ["BatchRow", "Commit", "Counts", "ImageRow", "NewBatch", "State"]
