"""The part of the state store about ended batches whose report stands for their images."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from muniflow_coordinator.state.types import BatchRow


class ArchiveState(Protocol):
    """Writers first, then readers, as in `types.State`."""

    def archive(self, batch: int, at: float) -> bool:
        """Record that the report of a batch stands for its images from `at` on, unix seconds.

        Returns whether that is so now: a batch that does not exist any more, or runs again, is not archived. The rows
        of its images are there until `drop_images` has deleted them.
        """
        ...

    def end_archive(self, batch: int) -> None:
        """Delete what is left of an archived batch but its own row; the rows of its images are gone."""
        ...

    def archiving(self) -> list[int]:
        """Return the numbers of archived batches whose images may have rows."""
        ...

    def archivable(self, before: float, after: int) -> "BatchRow | None":
        """Return the first batch with a number above `after` that ended `before` that time and is not archived."""
        ...
