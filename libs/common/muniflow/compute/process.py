"""The one meaning: what a task does. The worker's child, the `once` filter and the local engine all call `process`.

A task runs the chain of consecutive operations that this process carries, depth-first over tiles, so that at most
one path of the tree of tiles is in memory. What the chain ends with is encoded and written (the end of the route) or
stored as raw pixels for the next operation. Keys are deterministic: running a task again writes the same bytes to the
same places.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from muniflow import keys
from muniflow.compute import raw
from muniflow.compute.bundles import bundles
from muniflow.compute.outcome import Outcome, StepMeasure, failed_whole
from muniflow.compute.outgoing import shorten
from muniflow.compute.params import ParamsCache
from muniflow.compute.source import load_source
from muniflow.compute.step import Image, Steps
from muniflow.errors import NotFound, Unavailable
from muniflow.failpoints import Hit, nothing
from muniflow.images.encode import encode
from muniflow.images.limits import ImageLimits
from muniflow.lineage import WHOLE, Lineage, child_of, fraction, joined, leaf_index
from muniflow.messages import Settled, Tally, Task, Tile, output_name
from muniflow.operation import Params, Size
from muniflow.settle import Done, Fail, Fate, settle
from muniflow.store.types import Store

DECODED = -1
"""The "step" whose output is the decoded source, in the key of its intermediate."""
_CV2_NO_MEMORY = -4
_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True)
class Context:
    """What tasks need, for the life of a process."""

    steps: Steps
    """The operations that this process carries; consecutive ones are chained in memory."""
    source: Store
    work: Store
    output: Store
    limits: ImageLimits
    durable_outputs: bool = True
    """Whether outputs are synced (`muniflow.compute.durable`)."""
    after_load: Hit = nothing
    after_compute: Hit = nothing
    params: ParamsCache = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", ParamsCache(self.steps))


def process(task: Task, context: Context) -> Outcome:
    """Run a task. Raises nothing: every error is a fate.

    A tile that fails is settled alone and its siblings go on. A part that is away (`Unavailable`) anywhere makes the
    whole task one to retry, because everything that it wrote is written again under the same keys.
    """
    chain = _Chain(task, context)
    try:
        chain.run()
    except NotFound as error:
        # Only an input can be missing. An intermediate is deleted when its image is settled, so this is a late copy.
        return failed_whole(task, Fail(str(error), "missing"), dead_letter=not task.tiles)
    except Exception as error:  # noqa: BLE001 - `settle` knows what each kind of error means
        return failed_whole(task, fate_of(error, task.attempt))
    return chain.outcome()


def fate_of(error: Exception, attempt: int) -> Fate:
    """What an error means for its task, with a reason that fits a message."""
    # OpenCV has an exception of its own for memory.
    if getattr(error, "code", None) == _CV2_NO_MEMORY:
        error = MemoryError()
    fate = settle(error, attempt)
    return Fail(shorten(fate.reason), fate.kind) if isinstance(fate, Fail) else fate


@dataclass(slots=True)
class _Node:
    """An image or tile in memory, before step `step`."""

    image: Image
    step: int
    lineage: Lineage
    region: raw.Region | None
    """Its memory; `None` when it never leaves this process as raw pixels."""
    params: Params | None = None
    """Instead of the route's, after a reduced decode."""


@dataclass
class _Chain:
    task: Task
    context: Context
    left: list[Tile] = field(default_factory=list)
    """What other processes go on with, at step `_end`."""
    done: list[Lineage] = field(default_factory=list)
    """Parts whose output is written."""
    failures: list[Settled] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    measures: dict[int, StepMeasure] = field(default_factory=dict)
    failed: list[Fail] = field(default_factory=list)
    _end: int = field(init=False)
    """The first step of the route that this process does not carry; its length, where nothing is handed on."""

    def __post_init__(self) -> None:
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

    def run(self) -> None:
        """Depth-first: the last tile pushed is the first to go on, and each is dropped as soon as it was used."""
        stack = self._load()[::-1]
        while stack:
            node = stack.pop()
            try:
                stack += reversed(self._advance(node))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one tile fails, its siblings go on
                self._failed(node, error)

    def outcome(self) -> Outcome:
        """The result, once `run` returned."""
        done = tuple(self.task.end_of(lineage) for lineage in joined(self.done))
        return Outcome(
            fate=self.failed[0] if self.failed else Done(),
            follow=tuple(self._following(tiles) for tiles in bundles(self.left)),
            settled=(*done, *self.failures),
            tallies=tuple(self._tally(step, measure) for step, measure in self.measures.items()),
            measures=tuple(self.measures.values()),
            outputs=tuple(self.outputs),
            failed_step=self.failures[0].step if self.failures else 0,
        )

    def _load(self) -> list[_Node]:
        task, measure = self.task, self._measure(self.task.step)
        started_s = time.perf_counter()
        nodes = self._load_tiles(measure) if task.tiles else [self._load_source(measure)]
        measure.load_s += time.perf_counter() - started_s
        self.context.after_load()
        return nodes

    def _load_tiles(self, measure: StepMeasure) -> list[_Node]:
        task = self.task
        loaded = raw.load(task.tiles, raw.unread if self._by_reference else self.context.work.read)
        measure.load_bytes += 0 if self._by_reference else sum(image.nbytes for image, _ in loaded)
        return [_Node(image, task.step, region.lineage, region if self._hands_on else None) for image, region in loaded]

    def _load_source(self, measure: StepMeasure) -> _Node:
        task = self.task
        params = self.context.params.of(task.route[task.step])
        data = self.context.source.read(task.source)
        measure.load_bytes += len(data)
        decoded, first_params = load_source(data, self.context.limits, params, task.decode)
        image = np.ascontiguousarray(decoded)
        region = raw.region_of(image, self._key(DECODED, WHOLE), WHOLE) if self._hands_on else None
        return _Node(image, task.step, WHOLE, region, first_params)

    def _advance(self, node: _Node) -> list[_Node]:
        """Run one step on one image, and store what leaves the chain; returns what stays in memory."""
        tiles = self._apply(node)
        self.context.after_compute()
        if node.step + 1 < self._end:
            return tiles
        started_s = time.perf_counter()
        if self._hands_on:
            self._hand_on(node, tiles)
        else:
            for tile in tiles:
                self._isolated(tile, self._write_output)
        self._measure(node.step).store_s += time.perf_counter() - started_s
        return []

    def _apply(self, node: _Node) -> list[_Node]:
        route_step = self.task.route[node.step]
        params = node.params or self.context.params.of(route_step)
        height_px, width_px, _ = node.image.shape
        sizes = params.sizes(Size(width_px, height_px))
        self.context.params.check_sizes(route_step.op, sizes, self.context.limits.max_pixels)
        measure = self._measure(node.step)
        started_s = time.perf_counter()
        images = self.context.steps[route_step.op].apply(node.image, params)
        measure.compute_s += time.perf_counter() - started_s
        _check_images(route_step.op, images, sizes, route_step.fan_out)
        measure.images += 1
        measure.pixels += width_px * height_px
        lineages = [child_of(node.lineage, child, len(images)) for child in range(len(images))]
        if node.region is None:
            return [_Node(image, node.step + 1, lineage, None) for image, lineage in zip(images, lineages, strict=True)]
        placed = raw.place(images, lineages, node.region, node.lineage, lambda lineage: self._key(node.step, lineage))
        return [
            _Node(image, node.step + 1, lineage, region)
            for (image, region), lineage in zip(placed, lineages, strict=True)
        ]

    def _hand_on(self, parent: _Node, tiles: list[_Node]) -> None:
        """Store `tiles` for the next operation."""
        regions = [tile.region or self._region_of(parent, tile) for tile in tiles]
        if regions[0] is regions[-1] and not regions[0].stored and not self._fits(parent, tiles, regions[0]):
            regions = [self._region_of(parent, tile) for tile in tiles]
        for tile, region in zip(tiles, regions, strict=True):
            if not region.stored:
                self._measure(parent.step).store_bytes += region.size_bytes
                if self._by_reference:
                    raise RuntimeError(f"step {self.task.op} copied pixels, although it works by reference")
            raw.write(region, self.context.work)
            self.left.append(Tile(lineage=tile.lineage, pixels=raw.reference(tile.image, region)))

    def _region_of(self, parent: _Node, tile: _Node) -> raw.Region:
        """Memory of its own for a tile."""
        tile.image = np.ascontiguousarray(tile.image)
        return raw.region_of(tile.image, self._key(parent.step, tile.lineage), tile.lineage)

    @staticmethod
    def _fits(parent: _Node, tiles: list[_Node], region: raw.Region) -> bool:
        """Whether the memory that these tiles are in is worth to be written whole."""
        # Of what other tiles of this task are in, too, only this parent's share counts.
        share = float(fraction(parent.lineage) / fraction(region.lineage))
        return region.size_bytes * share <= raw.MAX_WASTE * sum(tile.image.nbytes for tile in tiles)

    def _following(self, tiles: tuple[Tile, ...]) -> Task:
        return self.task.model_copy(update={"step": self._end, "tiles": tiles, "attempt": 1})

    def _write_output(self, tile: _Node) -> None:
        name = output_name(self.task.stem, leaf_index(tile.lineage), self.task.encoding)
        key = keys.output_key(self.task.destination, name)
        data = encode(tile.image, self.task.encoding)
        self.context.output.write(key, memoryview(data))
        self.outputs.append(key)
        self._measure(tile.step - 1).store_bytes += data.nbytes
        self.done.append(tile.lineage)

    def _isolated(self, tile: _Node, act: Callable[[_Node], None]) -> None:
        try:
            act(tile)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one tile fails, its siblings go on
            tile.step -= 1
            self._failed(tile, error)

    def _failed(self, node: _Node, error: Exception) -> None:
        fate = fate_of(error, self.task.attempt)
        if not isinstance(fate, Fail):  # `Unavailable` never comes here
            fate = Fail(str(error))
        self.failed.append(fate)
        self._measure(node.step).failed += 1
        self.failures.append(self.task.end_of(node.lineage, fate.reason, node.step))

    def _tally(self, step: int, measure: StepMeasure) -> Tally:
        return Tally(
            batch=self.task.batch,
            step=step,
            done=measure.images,
            failed=measure.failed,
            pixels=measure.pixels,
            compute_s=round(measure.compute_s, 6),
        )

    def _measure(self, step: int) -> StepMeasure:
        if step not in self.measures:
            self.measures[step] = StepMeasure(self.task.route[step].op)
        return self.measures[step]

    def _key(self, step: int, lineage: Lineage) -> str:
        return keys.intermediate_key(self.task.batch, self.task.image, self.task.run, step, lineage)


def _check_images(op: str, images: list[Image], sizes: tuple[Size, ...], fan_out: int) -> None:
    """Hold a step to its contract; a breach is a bug of the step, and must not reach a cut of the ledger."""
    expected = [((size.height_px, size.width_px, raw.CHANNELS), _UINT8) for size in sizes]
    found = [(image.shape, image.dtype) for image in images]
    if found != expected or len(images) != fan_out:
        raise RuntimeError(f"step {op} made {found} instead of {expected}, for a fan-out of {fan_out}")
