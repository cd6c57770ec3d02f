"""The rules of the ledger of one batch: which events settle which images, and with which reasons. Both engines use it.

Memory holds only the images that are open (dispatched, or heard of, and not settled), so it is bounded by the
window. Duplicates, reordering and events of an earlier run change nothing (docs/adr/0002-ledger-of-lineages.md).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NamedTuple

from muniflow.model.checksums import ImageSums, combined
from muniflow.model.lineage import WHOLE, Coverage, Lineage, label
from muniflow.model.messages import Route, Settled
from muniflow.model.settlement import shorten
from muniflow.reason_codes import UNKNOWN

MAX_REASONS = 10
"""Reasons kept of one image, the first in split order; an image may have thousands of leaves."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A settled part of an image that is not settled as a whole. The coordinator keeps it for its next start."""

    image: int
    run: int
    lineage: Lineage
    reason: str | None
    step: int
    code: str | None = None
    """The reason code, for a part that failed."""
    sums: ImageSums | None = None
    """For a part that is done."""


@dataclass(frozen=True, slots=True)
class SettledImage:
    """An image that came to its end."""

    image: int
    run: int
    state: Literal["done", "failed"]
    reasons: tuple[str, ...]
    had_leaves: bool
    """Whether an update before had leaves of it, which are to be removed."""
    direct: bool = False
    """Whether one process took it from its source to its outputs, so that there are no intermediates."""
    code: str | None = None
    """For `failed`: the reason code of its first reason in split order."""
    operation: str | None = None
    """For `failed`: the operation at which that came."""
    sums: ImageSums | None = None
    """For `done`: where all digests are known."""
    metadata: tuple[str, ...] | None = None
    """For `done`: what its outputs keep of the metadata of its source, where that is known."""


@dataclass(slots=True)
class LedgerUpdate:
    """What a group of events changes."""

    leaves: list[Leaf] = field(default_factory=list)
    settled: list[SettledImage] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    """Images that were settled before: their intermediates may have been written again."""
    misfits: int = 0
    """Events whose lineage the route cannot make: a fault of the sender, ignored."""


class _Failure(NamedTuple):
    lineage: Lineage
    sentence: str
    code: str
    operation: str


@dataclass(slots=True)
class _Open:
    run: int
    coverage: Coverage | None = None
    reasons: tuple[_Failure, ...] = ()
    """In split order, so that they depend neither on the order of events nor on a restart."""
    failures: int = 0
    has_leaves: bool = False
    sums: dict[Lineage, ImageSums] = field(default_factory=dict)
    """Of the parts that are done."""
    metadata: tuple[str, ...] | None = None


class Ledger:
    """The open images of one batch."""

    def __init__(self, route: Route) -> None:
        """Rules for images that take this route."""
        self._operations = tuple(step.op for step in route)
        self._fan_outs = tuple(step.fan_out for step in route if step.fan_out > 1)
        self._leaves = prod(self._fan_outs)
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, image: int) -> bool:
        return image in self._open

    def open(self, image: int, run: int, leaves: Collection[Leaf] = ()) -> None:
        """Open an image with what was kept of it; one that is open in this run already stays as it is."""
        known = self._open.get(image)
        if known is not None and known.run >= run:
            return
        opened = self._open[image] = _Open(run)
        if not leaves:
            return
        # A part is kept after its descendants, never before them: deepest first is the order in which they came.
        for leaf in sorted(leaves, key=lambda leaf: -len(leaf.lineage)):
            if leaf.run == run:
                opened.has_leaves = True
                self._cover(opened, leaf)

    def recall(self, leaves: Iterable[Leaf]) -> None:
        """Open the images that were open before a restart, with what was kept of them."""
        by_image: dict[int, list[Leaf]] = {}
        for leaf in leaves:
            by_image.setdefault(leaf.image, []).append(leaf)
        for image, kept in by_image.items():
            self.open(image, max(leaf.run for leaf in kept), kept)

    def keep_only(self, images: Collection[int]) -> None:
        """Forget all images but these: the others are cancelled."""
        for image in [image for image in self._open if image not in images]:
            del self._open[image]

    def unknown(self, events: Iterable[Settled]) -> set[int]:
        """Images of these events that are not open: settled, or not heard of since the start."""
        return {event.image for event in events if event.image not in self._open}

    def awaits(self, event: Settled) -> bool:
        """Whether an event is of an open image, in its run, and of a part that is not settled."""
        image = self._open.get(event.image)
        if image is None or event.run != image.run or not self._fits(event):
            return False
        return image.coverage is None or not image.coverage.covers(event.lineage)

    def apply(self, events: Iterable[Settled]) -> LedgerUpdate:
        """Take events into account, in any order. Images that are not open count as settled before."""
        update = LedgerUpdate()
        fresh: dict[int, list[Leaf]] = {}
        for event in events:
            image = self._open.get(event.image)
            if image is None:
                update.late.add(event.image)
            elif not self._fits(event):
                update.misfits += 1
            elif event.run == image.run and self._cover(image, event):
                if event.lineage and not (image.coverage and image.coverage.complete):
                    part = (event.image, event.run, event.lineage, event.reason, event.step, event.code, event.sums)
                    leaf = Leaf(*part)
                    fresh.setdefault(event.image, []).append(leaf)
                else:
                    fresh.pop(event.image, None)
                    update.settled.append(self._settle(event.image, image, direct=event.direct))
        for number, leaves in fresh.items():
            self._open[number].has_leaves = True
            update.leaves += leaves
        return update

    def _fits(self, event: Settled) -> bool:
        lineage, fan_outs = event.lineage, self._fan_outs
        if not 0 <= event.step < len(self._operations):
            return False  # also a number that no database takes
        if len(lineage) > len(fan_outs):
            return False
        return all(of == fan_out and 0 <= child < of for (child, of), fan_out in zip(lineage, fan_outs, strict=False))

    def _cover(self, image: _Open, part: Settled | Leaf) -> bool:
        lineage = part.lineage
        # Most images of a route without fan-out settle whole, with their first event: no coverage is needed for it.
        if lineage != WHOLE or image.coverage is not None:
            if image.coverage is None:
                image.coverage = Coverage()
            if not image.coverage.add(lineage):
                return False
        if part.reason is not None:
            image.failures += 1
            sentence = self._sentence(lineage, part.reason, part.step)
            failure = _Failure(lineage, sentence, part.code or UNKNOWN, self._operations[part.step])
            image.reasons = tuple(sorted((*image.reasons, failure))[:MAX_REASONS])
        elif (sums := part.sums) is not None:
            image.sums[lineage] = sums
        if isinstance(part, Settled) and part.metadata is not None:
            image.metadata = part.metadata  # the same in all parts of an image
        return True

    def _sentence(self, lineage: Lineage, reason: str, step: int) -> str:
        tile = f", tile {label(lineage)}" if lineage else ""
        return f"operations[{step}] ({self._operations[step]}){tile}: {shorten(reason)}"

    def _settle(self, number: int, image: _Open, *, direct: bool) -> SettledImage:
        del self._open[number]
        direct = direct and image.coverage is None
        if not image.failures:
            sums = combined(image.sums, self._leaves)
            return SettledImage(
                number, image.run, "done", (), image.has_leaves, direct, sums=sums, metadata=image.metadata
            )
        reasons = [failure.sentence for failure in image.reasons]
        first = image.reasons[0]
        if image.failures > MAX_REASONS:
            reasons.append(f"and {image.failures - MAX_REASONS} more")
        return SettledImage(
            number, image.run, "failed", tuple(reasons), image.has_leaves, direct, first.code, first.operation
        )
