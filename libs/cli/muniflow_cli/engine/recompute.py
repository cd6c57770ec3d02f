"""Makes a share of the outputs of a report once more, and compares them byte for byte."""

import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from muniflow.compute.process import process
from muniflow.compute.setup import open_context, preload
from muniflow.compute.spec import ChildSpec
from muniflow.errors import NotFound, Rejected
from muniflow.model.batch import read_step
from muniflow.model.messages import Encoding, Task
from muniflow.model.operation import installed_operations
from muniflow.model.rendering import Rendering
from muniflow.model.report_schema import ReportEntry
from muniflow.model.settlement import Done, Fail, Retry
from muniflow_cli.engine.verify import Checked, FileFault, Places, relative


@dataclass
class RecomputeChoice:
    """A random share of the images that are done; the same seed chooses the same ones, and never none."""

    share: float
    """0 to 1."""
    seed: int
    chosen: list[ReportEntry] = field(default_factory=list)
    _first: tuple[float, ReportEntry] | None = None
    """The one with the lowest number, for a batch whose share would be less than one image."""

    def offer(self, entry: ReportEntry) -> None:
        """Take an image, or not."""
        if entry.state != "done" or not entry.outputs or not self.share:
            return
        drawn = random.Random(f"{self.seed} {entry.image}").random()  # noqa: S311 - a sample, no secret
        if drawn < self.share:
            self.chosen.append(entry)
        elif self._first is None or drawn < self._first[0]:
            self._first = drawn, entry

    def result(self) -> Sequence[ReportEntry]:
        """Those that were chosen."""
        return self.chosen or ([] if self._first is None else [self._first[1]])


def recompute(chosen: Sequence[ReportEntry], places: Places, checked: Checked, spec: ChildSpec) -> None:
    """Make the outputs of these images again, in a folder of their own, and add what differs to `checked`.

    Args:
        chosen: images that are done.
        places: where the report and its outputs are.
        checked: of these files; images with a fault in their source are left out, and all where the report has one.
        spec: with the store of the sources.

    Raises:
        Invalid: an operation is not installed here.
    """
    if any(finding.kind == "report" for finding in checked.findings):
        return  # its route may be another one
    bad = {finding.image for finding in checked.findings if finding.what == "source"}
    with tempfile.TemporaryDirectory(prefix=".muniflow-") as scratch:
        work, output = f"file://{scratch}/work", f"file://{scratch}/output"
        own = replace(spec, work_url=work, output_url=output, durable_outputs=False)
        context = open_context(own, preload(own), os.environ)
        for entry in chosen:
            if entry.image in bad:
                continue
            outcome = process(_task(entry, checked.header), context)
            checked.recomputed += 1
            if not isinstance(outcome.disposition, Done) or outcome.follow:
                why = (
                    outcome.disposition.reason if isinstance(outcome.disposition, Fail | Retry) else "a step is missing"
                )
                checked.add(FileFault("recomputed", "source", entry.source, f"it fails now: {why}", entry.image))
                continue
            for key, made in ((key, context.output.read(key)) for key in entry.outputs):
                if not _same(made, places, relative(key, checked.header)):
                    text = "made again, it has other bytes"
                    checked.add(FileFault("recomputed", "output", key, text, entry.image))
                context.output.delete(key)


def _same(made: memoryview, places: Places, key: str) -> bool:
    try:
        return bytes(made) == bytes(places.folder.read(key))
    except (NotFound, Rejected):
        return False


def _task(entry: ReportEntry, header: dict[str, Any]) -> Task:
    operations = installed_operations()
    steps = enumerate(header["operations"])
    encoding = Encoding.model_validate(header["output"])
    chosen = {name: header[name] for name in Rendering.model_fields if name in header}
    stem = relative(entry.outputs[0], header).removesuffix(f"-0.{encoding.format}")
    return Task(
        batch=header["batch_id"],
        image=entry.image,
        source=entry.source,
        stem=stem,
        destination=header["destination"],
        encoding=encoding,
        decode=header["decode"],
        rendering=Rendering.model_validate(chosen) if chosen else None,
        route=tuple(read_step(step, operations, f"operations[{number}]") for number, step in steps),
    )
