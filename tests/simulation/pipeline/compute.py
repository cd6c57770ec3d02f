"""What tasks do, without pixels: a blob of a few bytes stands for an image, and says what was done to it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from tests.simulation.pipeline.store import SimStore
from tests.support.copying import CopyParams

from muniflow.compute.outcome import Outcome, StepMeasure, disposition_of, failed_whole
from muniflow.compute.task_sums import Work
from muniflow.errors import MuniflowError, NotFound, Rejected
from muniflow.forecast.sizes import Picture
from muniflow.forecast.task_class import RAW
from muniflow.images.pictures import OpenBlob
from muniflow.model.bundles import bundles
from muniflow.model.keys import intermediate_key, output_key
from muniflow.model.lineage import WHOLE, Lineage, children_of, joined, leaf_index
from muniflow.model.messages import RawRef, Route, RouteStep, Settled, Task, Tile, output_name
from muniflow.model.operation import Operation, Size
from muniflow.model.settlement import Done, Fail

BAD = b"bad"
"""Begins what is no image."""
KILLER = b"killer"
"""Begins an image that takes its whole worker along."""
SIDE_PX = 1200
"""Of a tile that travels alone; halves of it travel together."""


OPERATIONS = {
    name: Operation(name, CopyParams, "Copies, for the simulation.", ([name, 1],)) for name in ("copy", "crop", "paste")
}


def step_bytes(data: bytes, step: RouteStep, child: int) -> bytes:
    """What a step makes of an image."""
    return hashlib.blake2b(data + f"{step.op}{step.params}{child}".encode(), digest_size=8).hexdigest().encode()


def expected(data: bytes, route: Route) -> dict[Lineage, bytes]:
    """All outputs of a source, worked out without the pipeline."""
    found = {}
    for path in product(*(range(step.fan_out) for step in route)):
        made = data
        for step, child in zip(route, path, strict=True):
            made = step_bytes(made, step, child)
        pairs = zip(path, route, strict=True)
        found[tuple((child, step.fan_out) for child, step in pairs if step.fan_out > 1)] = made
    return found


def read_pictures(open_blob: OpenBlob, keys: Sequence[str]) -> Sequence[Picture | None]:
    """As `muniflow.images.pictures.read_pictures`."""

    def picture(key: str) -> Picture | None:
        try:
            data = open_blob(key).read()
        except NotFound:
            return None
        return None if data.startswith(BAD) else Picture(Size(SIDE_PX, SIDE_PX), "jpg")

    return [picture(key) for key in keys]


@dataclass(frozen=True)
class Stores:
    """The stores of a worker."""

    source: SimStore
    work: SimStore
    output: SimStore


@dataclass
class SimTask:
    """One task on its way: read, compute, write; as `muniflow.compute.chain` does it with pixels."""

    task: Task
    stores: Stores
    carried: Sequence[str]
    ended: Outcome | None = None
    killer: bool = False
    _nodes: list[tuple[Lineage, bytes]] = field(default_factory=list)
    _left: list[Tile] = field(default_factory=list)
    _outputs: list[str] = field(default_factory=list)
    _done: list[Lineage] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The first step that others carry."""
        route, first = self.task.route, self.task.step
        return next((n for n in range(first, len(route)) if route[n].op not in self.carried), len(route))

    def phase(self, work: Callable[[], None]) -> None:
        """Run one phase, unless one before it was the end."""
        if self.ended is not None:
            return
        task = self.task
        try:
            work()
        except NotFound as error:
            self.ended = failed_whole(task, Fail(str(error), "intermediate_missing"), input_gone=bool(task.tiles))
        except MuniflowError as error:
            self.ended = failed_whole(task, disposition_of(error, task.attempt))

    def read(self) -> None:
        task = self.task
        if task.tiles:
            self._nodes = [(tile.lineage, bytes(self.stores.work.read(tile.pixels.key))) for tile in task.tiles]
            return
        data = bytes(self.stores.source.read(task.source))
        self.killer = data.startswith(KILLER)
        if data.startswith(BAD):
            raise Rejected("not an image")
        self._nodes = [(WHOLE, data)]

    def write(self) -> None:
        nodes = self._nodes
        for step in self.task.route[self.task.step : self.end]:
            nodes = list(_step(nodes, step))
        for lineage, data in nodes:
            if self.end < len(self.task.route):
                self._hand_on(lineage, data)
            else:
                name = output_name(self.task.stem, leaf_index(lineage), self.task.encoding)
                key = output_key(self.task.destination, name)
                self.stores.output.write(key, data)
                self._outputs.append(key)
                self._done.append(lineage)

    def outcome(self) -> Outcome:
        """What became of it."""
        if self.ended is not None:
            return self.ended
        task, settled = self.task, list[Settled]()
        settled += [task.part_done(lineage) for lineage in joined(self._done)]
        follow = tuple(
            task.model_copy(update={"step": self.end, "tiles": tiles, "attempt": 1}) for tiles in bundles(self._left)
        )
        pixels = SIDE_PX**2
        measures = tuple(
            StepMeasure(op=task.route[n].op, step=n, done=1, pixels=pixels) for n in range(task.step, self.end)
        )
        made = len(self._left) or len(self._outputs)
        work = Work(task.step, self.end - task.step, RAW if task.tiles else "jpg", "cpu", pixels, pixels, made)
        return Outcome(Done(), follow, tuple(settled), measures, outputs=tuple(self._outputs), work=work)

    def _hand_on(self, lineage: Lineage, data: bytes) -> None:
        task = self.task
        key = intermediate_key(task.batch, task.image, task.run, self.end - 1, lineage)
        self.stores.work.write(key, data)
        side = SIDE_PX if len(data) % 2 or task.image % 2 else SIDE_PX // 2
        pixels = RawRef(key=key, width_px=side, height_px=side, stride_bytes=3 * side)
        self._left.append(Tile(lineage=lineage, pixels=pixels))


def _step(nodes: Sequence[tuple[Lineage, bytes]], step: RouteStep) -> Iterator[tuple[Lineage, bytes]]:
    for lineage, data in nodes:
        for child, below in enumerate(children_of(lineage, step.fan_out)):
            yield below, step_bytes(data, step, child)
