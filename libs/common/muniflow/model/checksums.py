"""SHA-256 of what an image was made from, and of what was made: from where the bytes are at hand to the report.

Pure. Between processes digests are hexadecimal; a ledger keeps them packed, 32 bytes each.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

from pydantic import Field

from muniflow.model.lineage import Lineage, is_ancestor

ALGORITHM = "sha256"
DIGEST_BYTES = 32
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower case hexadecimal."""


class ImageSums(NamedTuple):
    """The digests of an image, or of a part of one."""

    source: str | None
    """Of the encoded source. `None`: not known."""
    outputs: tuple[str, ...]
    """Of its outputs, in split order."""

    def pack(self) -> bytes:
        """As a ledger keeps it; `source` must be known."""
        return bytes.fromhex("".join((self.source or "", *self.outputs)))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Back from `pack`."""
        source, *outputs = (packed[first : first + DIGEST_BYTES].hex() for first in range(0, len(packed), DIGEST_BYTES))
        return cls(source, tuple(outputs))


NO_SUMS = ImageSums(None, ())
"""Of an image that is not done, or whose worker was of an earlier build."""


def digest(data: bytes | memoryview) -> str:
    """The SHA-256 of data; other threads run meanwhile."""
    return hashlib.sha256(data, usedforsecurity=False).hexdigest()


def combined(parts: Mapping[Lineage, ImageSums], leaves: int) -> ImageSums | None:
    """The digests of a whole image.

    Args:
        parts: of each part that was settled; one may cover others, which were settled before it.
        leaves: how many outputs the image has.

    Returns:
        `None` where digests are missing: a worker of an earlier build took part.
    """
    last: Lineage | None = None
    source: str | None = None
    outputs: list[str] = []
    for lineage in sorted(parts):
        if last is not None and is_ancestor(last, lineage):
            continue
        last = lineage
        source = source or parts[lineage].source
        outputs += parts[lineage].outputs
    return ImageSums(source, tuple(outputs)) if source is not None and len(outputs) == leaves else None
