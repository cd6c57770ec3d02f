"""What a batch must come to: a fault-free run by the local engine; and how a run under faults compares, as data."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniflow.compute.spec import ChildSpec
from muniflow.model.api import BatchStatus
from muniflow.model.batch import read_batch
from muniflow.model.keys import REPORT
from muniflow.model.messages import TERMINAL
from muniflow.model.operation import installed_operations
from muniflow.store.folders import TEMPORARY
from muniflow_cli.engine.local import run_batch

Document = Mapping[str, Any]
REPORTS = re.compile(r"report(-r[0-9]+|-[0-9]+-of-[0-9]+)?\.json")
"""That of the last run, those of earlier revisions and those of shares (`muniflow.model.keys`)."""
MANY = 100
"""From so many images on, both cores work on the truth."""


def seed_of(env: Mapping[str, str] = os.environ) -> int:
    """The seed of this run: `CHAOS_SEED`, or 1."""
    return int(env.get("CHAOS_SEED") or "1")


@dataclass(frozen=True)
class GuaranteeReport:
    """A run under faults against the fault-free one."""

    faults: int = 0
    images: int = 0
    tiles: int = 0
    lost: int = 0
    """Outputs that should be there and are not."""
    doubled: int = 0
    """Outputs that nobody asked for, or are listed twice; images that were settled twice."""
    wrong: int = 0
    """Outputs with other bytes, and images with another fate."""
    unsettled: int = 0
    """Images without a terminal state."""
    seed: int = field(default_factory=seed_of)

    def __str__(self) -> str:
        return f"faults {self.faults}, {self.counts}"

    @property
    def counts(self) -> str:
        """All but the faults, for a run that has none."""
        return (
            f"images {self.images}, tiles {self.tiles}, lost {self.lost}, doubled {self.doubled}, "
            f"wrong {self.wrong}, unsettled {self.unsettled} (seed {self.seed})"
        )

    def __add__(self, other: "GuaranteeReport") -> "GuaranteeReport":
        numbers = ("faults", "images", "tiles", "lost", "doubled", "wrong", "unsettled")
        return GuaranteeReport(**{name: getattr(self, name) + getattr(other, name) for name in numbers}, seed=self.seed)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.unsettled)


@dataclass(frozen=True)
class Truth:
    """A batch without faults."""

    outputs: Mapping[str, str]
    """SHA-256 by name below the destination."""
    failed: frozenset[str]
    """Source keys of the images that fail."""
    images: int


def truth_of(document: Document, source: Path, scratch: Path) -> Truth:
    """Run a batch on the local engine. `scratch` keeps nothing of another batch."""
    batch = read_batch(json.dumps(dict(document)), installed_operations())
    spec = ChildSpec(str(source), str(scratch / "work"), str(scratch / "output"), durable_outputs=False)
    result = run_batch(batch, spec, jobs=2 if len(document.get("images") or ()) >= MANY else 1)
    images = json.loads((scratch / "output" / result.report).read_bytes())["images"]
    failed = frozenset(image["source"] for image in images if image["state"] == "failed")
    # An image of which one tile fails is failed; its other tiles were written all the same.
    return Truth(digests(scratch / "output" / batch.destination), failed, len(images))


def digests(folder: Path) -> dict[str, str]:
    """The outputs below a destination, without reports and what a killed process left unfinished."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not REPORTS.fullmatch(path.name) and not path.name.startswith(TEMPORARY):
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def judge(truth: Truth, status: BatchStatus | None, destination: Path) -> GuaranteeReport:
    """Hold the destination of a batch and its report against the truth."""
    given = GuaranteeReport(images=truth.images, tiles=len(truth.outputs))
    if status is None or status.state not in TERMINAL:
        settled = 0 if status is None else status.done + status.failed + status.cancelled
        return given + GuaranteeReport(unsettled=truth.images - settled)
    found = digests(destination)
    wrong = sum(found[name] != digest for name, digest in truth.outputs.items() if name in found)
    report = json.loads((destination / REPORT).read_bytes())
    failed = [image["source"] for image in report["images"] if image["state"] == "failed"]
    listed = Counter(key for image in report["images"] for key in image["outputs"])
    images = Counter(image["image"] for image in report["images"])
    too_often = max(status.done + status.failed + status.cancelled - truth.images, 0)
    return given + GuaranteeReport(
        lost=sum(name not in found for name in truth.outputs),
        doubled=len(found.keys() - truth.outputs.keys()) + _extra(listed) + _extra(images) + too_often,
        wrong=wrong + len(truth.failed ^ set(failed)),
        unsettled=max(truth.images - status.done - status.failed - status.cancelled, 0),
    )


def _extra(counts: Counter[Any]) -> int:
    return sum(count - 1 for count in counts.values())


def total(verdicts: Iterable[GuaranteeReport]) -> GuaranteeReport:
    result = GuaranteeReport()
    for guarantees in verdicts:
        result += guarantees
    return result
