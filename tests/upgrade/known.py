"""What may be asked for, and which builds know it: found out by asking each build's own command line."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image as Pillow
from tests.chaos.harness import document
from tests.chaos.truth import Document, Truth, digests
from tests.unit.images import craft
from tests.upgrade.command_line import CommandLine

from muniflow_cli.commands import exits

PICTURES = ("traits/photo.jpg", "traits/clear.png", "traits/placed.jpg")
OWNERS = ("utrecht", "delft")
"""Who have keys of their own."""
ROUTE = [["resize", "50%"], ["split", True], ["blur", "gaussian"]]
OUTPUT = "webp"
FAR = "2099-01-01T00:00:00Z"


@dataclass(frozen=True)
class Trait:
    """Something that a batch may ask for."""

    name: str
    fields: Mapping[str, Any]
    lasting: bool = False
    """Whether it is one batch that is sent again and again, instead of a new one each time."""

    def document(self, batch_id: str) -> Document:
        """A batch that asks for it."""
        return {**document(batch_id, PICTURES, ROUTE, OUTPUT), **self.fields}

    def is_named_in(self, text: str) -> bool:
        """Whether a refusal says which of its fields is not known."""
        return any(field in text for field in self.fields)


def traits(callback: str) -> tuple[Trait, ...]:
    """All of them; `callback` is told the ends of batches."""
    return (
        Trait("plain", {}),
        Trait("alpha", {"alpha": "flatten", "background": "#204060"}),
        Trait("metadata", {"metadata": "gps"}),
        Trait("checksums", {"checksums": True}),
        Trait("urgent", {"priority": "high", "deadline": FAR, "weight": 3}),
        Trait("name", {"name": "Voorbeeld"}),
        Trait("keep_days", {"keep_days": 30}),
        Trait("callback", {"callback": callback}),
        Trait("again", {"again": "all"}, lasting=True),
        Trait("changed", {"again": "changed"}, lasting=True),
    )


@dataclass(frozen=True)
class Knowledge:
    """What a build knows."""

    traits: frozenset[str]
    erases: bool
    lists_failures: bool
    """Whether failures are in its ledger, and not in queues."""
    has_owners: bool
    has_shares: bool

    def __and__(self, other: "Knowledge") -> "Knowledge":
        return Knowledge(
            self.traits & other.traits,
            self.erases and other.erases,
            self.lists_failures and other.lists_failures,
            self.has_owners and other.has_owners,
            self.has_shares and other.has_shares,
        )


def write_pictures(source: Path) -> None:
    """A photograph, one with transparent parts, one that knows where it was taken; one where an owner may read it."""
    photo = craft.photo(64, 48)
    alpha = np.full((*photo.shape[:2], 1), 90, np.uint8)
    place = Pillow.Exif()
    place[0x8825] = {1: "N", 2: (52.0, 5.0, 27.0), 3: "E", 4: (5.0, 7.0, 4.0)}
    placed = io.BytesIO()
    Pillow.fromarray(photo[:, :, ::-1]).save(placed, "JPEG", exif=place)
    data = (craft.jpeg(photo), craft.png(np.dstack((photo, alpha))), placed.getvalue(), craft.jpeg(photo))
    for name, each in zip((*PICTURES, f"{OWNERS[0]}/photo.jpg"), data, strict=True):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(each)


def knowledge_of(cli: CommandLine, asked: Iterable[Trait], source: Path) -> Knowledge:
    """Ask a build."""
    keys = cli.build.module("muniflow_gateway", "keys", "make", "--help", folder=cli.folder)
    return Knowledge(
        traits=frozenset(trait.name for trait in asked if truth_of(cli, trait, source) is not None),
        erases=cli("erase", "--help").code == 0,
        lists_failures=cli("dead", "reasons", "--help").code == 0,
        has_owners="--owner" in keys.stdout,
        has_shares="--shard" in cli("run", "--help").out,
    )


def truth_of(cli: CommandLine, trait: Trait, source: Path) -> Truth | None:
    """What a batch with this trait comes to on the local engine of a build; `None`: the build does not know it."""
    try:
        return run_here(cli, trait.document("truth"), source)
    except Refused as refused:
        text = str(refused)
    assert trait.is_named_in(text), f"{cli.build.name}: {trait.name}: {text}"
    return None


class Refused(Exception):
    """A build does not take a batch."""


def run_here(cli: CommandLine, sent: Document, source: Path) -> Truth:
    """What a batch of good images comes to on the local engine of a build.

    Raises:
        Refused: with what it says.
    """
    out = cli.folder / "truth" / str(cli.count)
    said = cli("run", cli.write(sent), "--jobs", "1", "--source", str(source), "--out", str(out))
    if said.code == exits.USAGE:
        raise Refused(said.text)
    assert said.code == exits.OK, f"{cli.build.name}: {sent}: {said.text}"
    return Truth(digests(out / str(sent["batch_id"])), frozenset(), len(sent["images"]))
