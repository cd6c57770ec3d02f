"""Where a tile comes from, and when an image is covered.

A lineage is one `(child, of)` pair for each fan-out that was passed: `()` is the image itself, `((2, 4),)` its
third quadrant, `((2, 4), (0, 4))` the first quadrant of that. A lineage covers the fraction `1 / of / of …` of its
image. An image is complete when the lineages settled cover it exactly; a set of lineages stays right under
duplicates and reordering, where a counter does not (docs/adr/0002-ledger-of-lineages.md).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

Lineage = tuple[tuple[int, int], ...]
"""One `(child, of)` pair for each fan-out, outermost first; `0 <= child < of`."""

WHOLE: Lineage = ()


def children_of(parent: Lineage, of: int) -> list[Lineage]:
    """The lineages of all `of` children, in split order; an only child keeps its parent's lineage."""
    return [(*parent, (child, of)) for child in range(of)] if of > 1 else [parent]


def fraction(lineage: Lineage) -> Fraction:
    """The part of the image that this lineage covers."""
    return Fraction(1, prod(of for _, of in lineage))


def leaf_index(lineage: Lineage) -> int:
    """The place of a leaf in split order, 0-based: the `i` of `<stem>-<i>.<ext>`."""
    index = 0
    for child, of in lineage:
        index = index * of + child
    return index


def label(lineage: Lineage) -> str:
    """A short name that is unique within an image and safe in a key: `2of4.0of4`; `whole` for the image itself."""
    return ".".join(f"{child}of{of}" for child, of in lineage) or "whole"


def lineage_of(text: str) -> Lineage:
    """The lineage that `label` wrote as `text`."""
    if text == label(WHOLE):
        return WHOLE
    pairs = (part.split("of") for part in text.split("."))
    return tuple((int(child), int(of)) for child, of in pairs)


def joined(lineages: Iterable[Lineage]) -> list[Lineage]:
    """The fewest lineages that cover the same, in split order: where all children of a part are there, it is the part.

    Args:
        lineages: none of them covers another one.
    """
    found = set(lineages)
    for depth in range(max(map(len, found), default=0), 0, -1):
        children = Counter((lineage[:-1], lineage[-1][1]) for lineage in found if len(lineage) == depth)
        for (parent, of), count in children.items():
            if count == of:
                found -= {(*parent, (child, of)) for child in range(of)}
                found.add(parent)
    return sorted(found)


def is_ancestor(ancestor: Lineage, of: Lineage) -> bool:
    """Whether `ancestor` covers `of` (a lineage covers itself)."""
    return of[: len(ancestor)] == ancestor


@dataclass
class Coverage:
    """The settled lineages of one image, in any order, with any number of duplicates.

    The first settlement of a part stands. A lineage that arrives after some of its descendants covers what they left
    open (a split that published half of its tiles and then failed for good).
    """

    covered: Fraction = Fraction(0)
    """The part of the image that is settled, 0 to 1."""
    _settled: set[Lineage] = field(default_factory=set)
    _deepest: int = 0

    @classmethod
    def of(cls, lineages: Iterable[Lineage]) -> "Coverage":
        """The coverage by these lineages."""
        coverage = cls()
        for lineage in lineages:
            coverage.add(lineage)
        return coverage

    @property
    def complete(self) -> bool:
        """Whether every part of the image is settled."""
        return self.covered == 1

    def covers(self, lineage: Lineage) -> bool:
        """Whether `lineage`, or what it is a part of, is settled."""
        return any(lineage[:depth] in self._settled for depth in range(len(lineage) + 1))

    def add(self, lineage: Lineage) -> bool:
        """Settle `lineage`; returns whether that covered anything new."""
        if self.covers(lineage):
            return False
        below: set[Lineage] = set()
        if len(lineage) < self._deepest:  # else nothing can be below: leaves, most of all lineages, skip the search
            below = {known for known in self._settled if is_ancestor(lineage, known)}
        self._deepest = max(self._deepest, len(lineage))
        gained = fraction(lineage) - sum((fraction(known) for known in below), Fraction(0))
        if not gained:
            return False  # its descendants have settled all of it, so they stand
        self.covered += gained
        # Descendants are dropped, so that the set holds only maximal lineages and the sum stays exact.
        self._settled -= below
        self._settled.add(lineage)
        return True
