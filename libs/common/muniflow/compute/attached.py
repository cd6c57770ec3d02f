"""What travels with the pixels of an image to its outputs: the profile of its colours, and its metadata.

Each lies beside the intermediates in the work store, and a task names its key.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from muniflow.images.carried import NOTHING, Carried
from muniflow.images.fields import ImageHeader
from muniflow.images.profile import kept_profile
from muniflow.model import keys
from muniflow.model.frame import Frame
from muniflow.model.messages import Task
from muniflow.model.operation import Size
from muniflow.store.types import Store

if TYPE_CHECKING:
    from muniflow.images.metadata import Metadata


@dataclass(frozen=True)
class Attached:
    """Nothing, where a batch chose nothing of it."""

    profile: bytes | None = None
    metadata: "Metadata | None" = None
    keeps_metadata: bool = False

    @property
    def has_frames(self) -> bool:
        """Whether outputs say where they lie in their source."""
        return self.metadata is not None and self.metadata.pano is not None

    def store(self, task: Task, work: Store) -> Task:
        """Write what there is into the work store.

        Returns:
            The task with the keys.
        """
        image = task.batch, task.image, task.run
        if self.profile is not None:
            key = keys.profile_key(*image, mark=task.mark)
            work.write(key, memoryview(self.profile))
            task = task.model_copy(update={"profile": key})
        if self.metadata is not None:
            key = keys.metadata_key(*image, mark=task.mark)
            work.write(key, memoryview(self.metadata.to_bytes()))
            task = task.model_copy(update={"metadata": key})
        return task

    def names(self, frame: Frame | None) -> tuple[str, ...] | None:
        """What an output that lies at `frame` keeps of the metadata of its source; `None`: its batch keeps none."""
        if not self.keeps_metadata:
            return None
        if self.metadata is None:
            return ()
        return tuple(name for name in self.metadata.names if frame is not None or name != PANORAMA)

    def carried(self, frame: Frame | None, size: Size) -> Carried:
        """What an output of `size` carries."""
        if self.metadata is None:
            return NOTHING if self.profile is None else Carried(self.profile)
        return Carried(self.profile, self.metadata.exif, self.metadata.xmp(frame, size), self.metadata.density)


PANORAMA = "panorama"
"""What needs a frame: `muniflow.images.metadata` names it."""
NONE = Attached()


def attached_to(data: memoryview, header: ImageHeader, task: Task) -> Attached:
    """What outputs of a source shall carry."""
    rendering = task.rendering
    if rendering is None or (rendering.color != "keep" and rendering.metadata == "strip"):
        return NONE
    profile = kept_profile(data, header) if rendering.color == "keep" else None
    if rendering.metadata == "strip":
        return Attached(profile)
    # Pillow takes its time to load, and most batches keep none.
    from muniflow.images.metadata import metadata_of

    return Attached(profile, metadata_of(data, header, rendering.metadata, rendering.color), keeps_metadata=True)


def attached_by(task: Task, work: Store) -> Attached:
    """What the source of a task with tiles had, from the work store."""
    keeps = task.rendering is not None and task.rendering.metadata != "strip"
    profile = None if task.profile is None else bytes(work.read(task.profile))
    if task.metadata is None:
        return Attached(profile, keeps_metadata=keeps)
    from muniflow.images.metadata import Metadata

    return Attached(profile, Metadata.from_bytes(bytes(work.read(task.metadata))), keeps_metadata=keeps)
