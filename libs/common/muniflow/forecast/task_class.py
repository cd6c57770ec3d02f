"""The class of a task: all tasks of one class share one service time."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.messages import Decode, ImageFormat, RouteStep

Reads = Literal["jpg", "png", "webp", "tiff", "heif", "avif", "raw"]
"""Format of a task's input; `raw`: pixels between two steps."""
Writes = Literal["jpg", "png", "webp", "raw"]
READS: Mapping[str, Reads] = {**{name: name for name in get_args(Reads)}, "jpeg": "jpg", "tif": "tiff", "heic": "heif"}
"""Formats of inputs by all names that are in use."""
RAW: Literal["raw"] = "raw"

_NAMES_CHARS = 40
_DIGEST_CHARS = 12


def reads_of(key: str) -> Reads:
    """The format that a source key's suffix says; `jpg` where it says nothing."""
    return READS.get(key.rpartition(".")[2].lower(), "jpg")


class ClassStep(BaseModel):
    """An operation with its parameters."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    op: str
    params: str = "{}"
    """Long form, as JSON with sorted keys."""

    @property
    def param_values(self) -> dict[str, Any]:
        """The parameters by name."""
        values: dict[str, Any] = json.loads(self.params)
        return values


class TaskClass(BaseModel):
    """What a task does, apart from the size of its input."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[tuple[ClassStep, ...], Field(min_length=1)]
    """The operations that it runs; a chain in one process is one task."""
    reads: Reads = RAW
    writes: Writes = RAW
    device: str = "cpu"
    decode: Decode = "exact"

    @classmethod
    def of(
        cls, steps: Sequence[RouteStep], reads: Reads, writes: ImageFormat | Literal["raw"], device: str, decode: Decode
    ) -> "TaskClass":
        """The class of a task that runs these steps; how it decodes counts only where it does."""
        return cls(
            steps=tuple(ClassStep(op=step.op, params=json.dumps(step.params, sort_keys=True)) for step in steps),
            reads=reads,
            writes=writes,
            device=device,
            decode="exact" if reads == RAW else decode,
        )

    @property
    def key(self) -> str:
        """A name for databases and messages, the same in every process and build: at most 80 characters or so."""
        names = "+".join(step.op for step in self.steps)[:_NAMES_CHARS]
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:_DIGEST_CHARS]
        return f"{names}/{self.reads}-{self.writes}/{self.device[:16]}/{digest}"
