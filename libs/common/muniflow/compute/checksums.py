"""The SHA-256 of what one task reads and writes, while the bytes are at hand."""

from dataclasses import dataclass, field

from muniflow.model.checksums import digest
from muniflow.model.lineage import Lineage, is_ancestor
from muniflow.model.messages import Settled, Task


@dataclass(slots=True)
class TaskChecksums:
    """Of one task; where its batch wants none, nothing is hashed."""

    wanted: bool
    _outputs: dict[Lineage, str] = field(default_factory=dict)

    def read(self, task: Task, source: memoryview) -> Task:
        """The task, which carries the digest of its source from here on."""
        return task.model_copy(update={"source_sha256": digest(source)}) if self.wanted else task

    def wrote(self, lineage: Lineage, output: memoryview) -> None:
        """An output was stored."""
        if self.wanted:
            self._outputs[lineage] = digest(output)

    def settled(self, task: Task, lineage: Lineage) -> Settled:
        """The event of a part once all its outputs are stored."""
        if not self.wanted:
            return task.part_done(lineage)
        inside = sorted(leaf for leaf in self._outputs if is_ancestor(lineage, leaf))
        return task.part_done(lineage, tuple(self._outputs[leaf] for leaf in inside))
