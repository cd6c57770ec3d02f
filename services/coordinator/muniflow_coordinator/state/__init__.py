"""The state store: the database of the coordinator. `types` is its interface, `sql` the only implementation."""

from muniflow_coordinator.state.types import BatchRow, Commit, Counts, ImageRow, NewBatch, State

__all__ = ["BatchRow", "Commit", "Counts", "ImageRow", "NewBatch", "State"]
