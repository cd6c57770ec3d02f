"""The chain of consecutive steps that a process carries, run on one task in three phases: read, compute, write.

Depth-first over tiles, so that at most one path of the tree of tiles is in memory. What the chain ends with is encoded
and written (the end of the route) or stored as raw pixels for the next operation. Keys are deterministic: running a
task again writes the same bytes to the same places.
"""

import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from muniflow.compute import raw
from muniflow.compute.attached import NONE, Attached, attached_by, attached_to
from muniflow.compute.checksums import TaskChecksums
from muniflow.compute.context import Context
from muniflow.compute.outcome import Outcome, StepMeasure, disposition_of
from muniflow.compute.plans import StepPlan
from muniflow.compute.source import decode_source
from muniflow.compute.step_input import StepInput
from muniflow.compute.task_sums import Work
from muniflow.errors import Unavailable
from muniflow.forecast.task_class import RAW, READS, Reads
from muniflow.images.encode import encode
from muniflow.images.header import ImageHeader, read_header
from muniflow.model import keys
from muniflow.model.bundles import bundles
from muniflow.model.frame import Frame, whole
from muniflow.model.lineage import WHOLE, Lineage, children_of, joined, leaf_index
from muniflow.model.messages import Settled, Task, Tile, output_name
from muniflow.model.settlement import Disposition, Done, Fail

DECODED = -1
"""The "step" whose output is the decoded source, in the key of its intermediate."""
WRITE_TOGETHER_BYTES = 1 << 20
"""So much of encoded outputs may wait to be written."""


@dataclass
class Chain:
    """The steps of one task. The phases are called in order, each once; what one raises is the end of the task."""

    task: Task
    context: Context
    _left: list[Tile] = field(default_factory=list)
    """What other processes go on with, at step `_end`."""
    _done: list[Lineage] = field(default_factory=list)
    """Parts whose output is written."""
    _failures: list[Settled] = field(default_factory=list)
    _outputs: list[str] = field(default_factory=list)
    _encoded: list[tuple[Lineage, memoryview]] = field(default_factory=list)
    """Outputs that wait to be written."""
    _measures: dict[int, StepMeasure] = field(default_factory=dict)
    _disposition: Disposition = field(default_factory=Done)
    """The first failure, if there is one."""
    _nodes: list[StepInput] = field(default_factory=list)
    """What was read of tiles."""
    _source: tuple[memoryview, ImageHeader] | None = None
    """What was read of a source."""
    _attached: Attached = NONE
    """What outputs carry."""
    _kept: tuple[str, ...] | None = None
    """What they keep of metadata."""
    _reads: Reads = RAW
    _pixels_in: int = 0
    _pixels_out: int = 0
    _sums: TaskChecksums = field(init=False)
    _end: int = field(init=False)
    """The first step of the route that this process does not carry; its length, where nothing is handed on."""

    def __post_init__(self) -> None:
        self._sums = TaskChecksums(self.task.checksums is True)
        route, steps = self.task.route, self.context.steps
        self._end = next((n for n in range(self.task.step, len(route)) if route[n].op not in steps), len(route))

    @property
    def _hands_on(self) -> bool:
        """Whether another process goes on with what is made here."""
        return self._end < len(self.task.route)

    @property
    def _by_reference(self) -> bool:
        """Whether nothing here looks at a pixel: tiles come as references, and go on as others."""
        steps = (self.context.steps[step.op] for step in self.task.route[self.task.step : self._end])
        return self._hands_on and bool(self.task.tiles) and all(step.by_reference for step in steps)

    def read(self) -> None:
        """Fetch the input, and look at the header of a source."""
        measure = self._measure(self.task.step)
        started_s = time.perf_counter()
        if self.task.tiles:
            self._nodes = self._read_tiles(measure)
            self._pixels_in = self.task.input_px or 0
            if not self._hands_on:
                self._attached = attached_by(self.task, self.context.work)
        else:
            data = self.context.source.read(self.task.source)
            measure.load_bytes += len(data)
            header = read_header(data, self.context.limits)
            self.task = self._sums.read(self.task, data)
            self._source = data, header
            self._reads, self._pixels_in = READS[header.format], header.size.pixels
            if self._hands_on:
                self.task = self.task.model_copy(update={"source_px": header.size.pixels})
        measure.load_s += time.perf_counter() - started_s

    @property
    def read_bytes(self) -> int:
        """What `read` fetched, in bytes."""
        return self._measure(self.task.step).load_bytes

    def compute(self) -> None:
        """Decode, run the steps and encode: the last tile pushed goes on first, and is dropped once it was used."""
        stack = self._nodes[::-1] if self._source is None else [self._decode(*self._source)]
        self._nodes, self._source = [], None
        self.context.after_load()
        while stack:
            node = stack.pop()
            try:
                stack += reversed(self._advance(node))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one tile fails, its siblings go on
                self._failed(node.lineage, node.step, error)

    def write(self) -> None:
        """Write the outputs that wait for it."""
        if not self._encoded:
            return
        measure = self._measure(self._end - 1)
        started_s = time.perf_counter()
        blobs = [(self._output_key(lineage), data) for lineage, data in self._encoded]
        problems = self.context.output.write_many(blobs)
        for (lineage, _), (key, data), problem in zip(self._encoded, blobs, problems, strict=True):
            if isinstance(problem, Unavailable):
                raise problem
            if problem is not None:
                self._failed(lineage, measure.step, problem)
            else:
                self._outputs.append(key)
                self._done.append(lineage)
                self._sums.wrote(lineage, data)
                measure.store_bytes += data.nbytes
        self._encoded = []
        measure.store_s += time.perf_counter() - started_s

    def outcome(self) -> Outcome:
        """The result, once all phases returned."""
        done = tuple(self._settled(lineage) for lineage in joined(self._done))
        return Outcome(
            disposition=self._disposition,
            follow=tuple(self._following(tiles) for tiles in bundles(self._left)),
            settled=(*done, *self._failures),
            measures=tuple(self._measures.values()),
            outputs=tuple(self._outputs),
            failed_step=self._failures[0].step if self._failures else 0,
            work=None if self._failures else self._work(),
        )

    def _settled(self, lineage: Lineage) -> Settled:
        event = self._sums.settled(self.task, lineage)
        return event if self._kept is None else event.model_copy(update={"metadata": self._kept})

    def _work(self) -> Work:
        first, made = self.task.step, self._left if self._hands_on else self._outputs
        pixels = self._pixels_in, self._pixels_out
        return Work(first, self._end - first, self._reads, self.context.device, *pixels, len(made))

    def _read_tiles(self, measure: StepMeasure) -> list[StepInput]:
        task = self.task
        loaded = raw.load(task.tiles, raw.unread if self._by_reference else self.context.work.read)
        measure.load_bytes += 0 if self._by_reference else sum(image.nbytes for image, _ in loaded)
        frames = {tile.lineage: Frame(*tile.frame) for tile in task.tiles if tile.frame is not None}
        return [
            StepInput(
                image, task.step, region.lineage, region if self._hands_on else None, None, frames.get(region.lineage)
            )
            for image, region in loaded
        ]

    def _decode(self, data: memoryview, header: ImageHeader) -> StepInput:
        task, measure = self.task, self._measure(self.task.step)
        started_s = time.perf_counter()
        params = self.context.plans.params(task.route[task.step])
        decoded, first_params = decode_source(data, header, self.context.limits, params, task)
        self._attached = attached_to(data, header, task)
        if self._hands_on:
            self.task = self._attached.store(task, self.context.work)
        image = np.ascontiguousarray(decoded)
        region = raw.region_of(image, self._key(DECODED, WHOLE), WHOLE) if self._hands_on else None
        measure.load_s += time.perf_counter() - started_s
        node = StepInput(image, task.step, WHOLE, region, first_params)
        node.frame = whole(node.size) if self._attached.has_frames else None
        return node

    def _advance(self, node: StepInput) -> list[StepInput]:
        """Run one step on one image, and store what leaves the chain; returns what stays in memory."""
        measure = self._measure(node.step)
        tiles = self._apply(node, measure)
        self.context.after_compute()
        if node.step + 1 < self._end:
            return tiles
        self._pixels_out += sum(tile.image.shape[0] * tile.image.shape[1] for tile in tiles)
        if self._hands_on:
            started_s = time.perf_counter()
            self._hand_on(node, tiles)
            measure.store_s += time.perf_counter() - started_s
        else:
            self._encode_outputs(tiles, measure)
        return []

    def _apply(self, node: StepInput, measure: StepMeasure) -> list[StepInput]:
        plan = self._plan(node)
        plan.require(self.context.limits, self._source_px, node.lineage)
        started_s = time.perf_counter()
        images = plan.run(node.image)
        measure.compute_s += time.perf_counter() - started_s
        height_px, width_px, _ = node.image.shape
        measure.done += 1
        measure.pixels += width_px * height_px
        lineages = children_of(node.lineage, len(images))
        if node.region is None:
            tiles = [
                StepInput(image, node.step + 1, lineage, None) for image, lineage in zip(images, lineages, strict=True)
            ]
        else:
            key = partial(self._key, node.step)
            placed = zip(raw.place(images, lineages, node.region, node.lineage, key), lineages, strict=True)
            tiles = [StepInput(image, node.step + 1, lineage, region) for (image, region), lineage in placed]
        node.frame_of(tiles, plan.params)
        return tiles

    @property
    def _source_px(self) -> int:
        """Pixels of the source; an earlier build does not tell them, and then the largest one is meant."""
        here = self.context.limits.max_pixels if self.task.tiles else self._pixels_in
        return self.task.source_px or here

    def _plan(self, node: StepInput) -> StepPlan:
        step, plans = self.task.route[node.step], self.context.plans
        if node.params is None:
            return plans.of(step, node.image.shape)
        return plans.plan(step, node.params, node.image.shape)

    def _hand_on(self, parent: StepInput, tiles: list[StepInput]) -> None:
        """Store `tiles` for the next operation."""
        regions = [tile.region or self._region_of(parent, tile) for tile in tiles]
        if regions[0] is regions[-1] and not regions[0].stored and not parent.fills(regions[0], tiles):
            regions = [self._region_of(parent, tile) for tile in tiles]
        for tile, region in zip(tiles, regions, strict=True):
            if not region.stored:
                self._measure(parent.step).store_bytes += region.size_bytes
                if self._by_reference:
                    raise RuntimeError(f"step {self.task.op} copied pixels, although it works by reference")
            raw.write(region, self.context.work)
            self._left.append(Tile(lineage=tile.lineage, pixels=raw.reference(tile.image, region), frame=tile.frame))

    def _region_of(self, parent: StepInput, tile: StepInput) -> raw.Region:
        """Memory of its own for a tile."""
        tile.image = np.ascontiguousarray(tile.image)
        return raw.region_of(tile.image, self._key(parent.step, tile.lineage), tile.lineage)

    def _following(self, tiles: tuple[Tile, ...]) -> Task:
        return self.task.model_copy(update={"step": self._end, "tiles": tiles, "attempt": 1})

    def _encode_outputs(self, tiles: list[StepInput], measure: StepMeasure) -> None:
        started_s = time.perf_counter()
        for tile in tiles:
            try:
                carried = self._attached.carried(tile.frame, tile.size)
                self._kept = self._attached.names(tile.frame)
                self._encoded.append((tile.lineage, encode(tile.image, self.task.encoding, carried)))
            except Exception as error:  # noqa: BLE001 - one tile fails, its siblings go on
                self._failed(tile.lineage, measure.step, error)
        measure.store_s += time.perf_counter() - started_s
        if sum(data.nbytes for _, data in self._encoded) >= WRITE_TOGETHER_BYTES:
            self.write()

    def _failed(self, lineage: Lineage, step: int, error: Exception) -> None:
        disposition = disposition_of(error, self.task.attempt)
        if not isinstance(disposition, Fail):  # `Unavailable` never comes here
            disposition = Fail(str(error))
        if not self._failures:
            self._disposition = disposition
        self._measure(step).failed += 1
        self._failures.append(self.task.part_failed(lineage, disposition.reason, step, disposition.code))

    def _output_key(self, lineage: Lineage) -> str:
        name = output_name(self.task.stem, leaf_index(lineage), self.task.encoding)
        return keys.output_key(self.task.destination, name)

    def _measure(self, step: int) -> StepMeasure:
        if step not in self._measures:
            self._measures[step] = StepMeasure(op=self.task.route[step].op, step=step)
        return self._measures[step]

    def _key(self, step: int, lineage: Lineage) -> str:
        image = (self.task.batch, self.task.image, self.task.run)
        return keys.intermediate_key(*image, step, lineage, mark=self.task.mark)
