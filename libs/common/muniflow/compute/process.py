"""The one meaning: what a task does. The worker's child, the `once` filter and the local engine all call `process`.

A task runs the chain of consecutive operations that this process carries, depth-first over tiles, so that at most
one path of the tree of tiles is in memory. What the chain ends with is encoded and written (the end of the route) or
stored as raw pixels for the next operation. Keys are deterministic: running a task again writes the same bytes to the
same places.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from muniflow import keys
from muniflow.compute import raw
from muniflow.compute.outcome import Outcome, StepMeasure, failed_whole
from muniflow.compute.outgoing import shorten
from muniflow.compute.params import ParamsCache
from muniflow.compute.source import load_source
from muniflow.compute.step import Image, Steps
from muniflow.errors import MuniflowError, NotFound, Unavailable
from muniflow.failpoints import Hit, nothing
from muniflow.images.encode import encode
from muniflow.images.limits import ImageLimits
from muniflow.lineage import Lineage, child_of, fraction, leaf_index
from muniflow.messages import Settled, Tally, Task, output_name
from muniflow.operation import Params, Size
from muniflow.settle import Done, Fail, Fate, settle
from muniflow.store.types import Store

DECODED = -1
"""The "step" whose output is the decoded source, in the key of its intermediate."""
MAX_WASTE = 2.0
"""Tiles are written as one array, unless that array is larger than all of its tiles by more than this factor."""
_CV2_NO_MEMORY = -4


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
    """Whether `make_durable` syncs."""
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
        return failed_whole(task, Fail(str(error), "missing"), dead_letter=task.pixels is None)
    except Exception as error:  # noqa: BLE001 - `settle` knows what each kind of error means
        return failed_whole(task, _fate(error, task.attempt))
    return chain.outcome()


def make_durable(results: Sequence[tuple[Task, Outcome]], context: Context) -> list[tuple[Task, Outcome]]:
    """Sync what these tasks wrote, before anybody is told of it: one sync for many files costs little more than one.

    Where the store cannot, all of them become tasks to retry.
    """
    keys = [key for _, outcome in results for key in outcome.outputs]
    if not keys or not context.durable_outputs:
        return list(results)
    try:
        context.output.sync(keys)
    except MuniflowError as error:
        away = Unavailable("blob store", str(error))
        return [(task, failed_whole(task, _fate(away, task.attempt))) for task, _ in results]
    return list(results)


def _fate(error: Exception, attempt: int) -> Fate:
    # OpenCV has an exception of its own for memory.
    if getattr(error, "code", None) == _CV2_NO_MEMORY:
        error = MemoryError()
    fate = settle(error, attempt)
    return Fail(shorten(fate.reason), fate.kind) if isinstance(fate, Fail) else fate


@dataclass(slots=True)
class _Node:
    """An image or tile in memory, before step `step`."""

    image: Image
    region: raw.Region
    step: int
    lineage: Lineage
    params: Params | None = None
    """Instead of the route's, after a reduced decode."""


@dataclass
class _Chain:
    task: Task
    context: Context
    follow: list[Task] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    measures: dict[int, StepMeasure] = field(default_factory=dict)
    failed: list[Fail] = field(default_factory=list)

    def run(self) -> None:
        """Depth-first: the last tile pushed is the first to go on, and each is dropped as soon as it was used."""
        stack = [self._load()]
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
        failures = [part for part in self.settled if part.reason is not None]
        return Outcome(
            fate=self.failed[0] if self.failed else Done(),
            follow=tuple(self.follow),
            settled=tuple(self.settled),
            tallies=tuple(self._tally(step, measure) for step, measure in self.measures.items()),
            measures=tuple(self.measures.values()),
            outputs=tuple(self.outputs),
            failed_step=failures[0].step if failures else 0,
        )

    def _load(self) -> _Node:
        task = self.task
        first_params = None
        started_s = time.perf_counter()
        if task.pixels is not None:
            image, region = raw.load(task.pixels, self.context.work)
            size_bytes = region.size_bytes
        else:
            params = self.context.params.of(task.route[task.step])
            data = self.context.source.read(task.source)
            size_bytes = len(data)
            decoded, first_params = load_source(data, self.context.limits, params, task.decode)
            image = np.ascontiguousarray(decoded)
            region = raw.region_of(image, self._key(DECODED, task.lineage))
        measure = self._measure(task.step)
        measure.load_s += time.perf_counter() - started_s
        measure.load_bytes += size_bytes
        self.context.after_load()
        return _Node(image, region, task.step, task.lineage, first_params)

    def _advance(self, node: _Node) -> list[_Node]:
        """Run one step on one image, and store what leaves the chain; returns what stays in memory."""
        tiles = self._apply(node)
        self.context.after_compute()
        following = node.step + 1
        if following < len(self.task.route) and self.task.route[following].op in self.context.steps:
            return tiles
        started_s = time.perf_counter()
        if following == len(self.task.route):
            for tile in tiles:
                self._isolated(tile, self._write_output)
        else:
            self._hand_on(node, tiles)
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
        regions = self._regions(node, images, lineages)
        return [
            _Node(image if view else region.array, region, node.step + 1, lineage)
            for image, lineage, (region, view) in zip(images, lineages, regions, strict=True)
        ]

    def _regions(self, node: _Node, images: list[Image], lineages: list[Lineage]) -> list[tuple[raw.Region, bool]]:
        """The memory of each new image, and whether the image is a view into it."""
        if all(raw.reference(image, node.region) is not None for image in images):
            return [(node.region, True)] * len(images)
        owner = raw.owner_of(images[0])
        if len(images) > 1 and owner.flags.c_contiguous and owner.dtype == np.uint8:
            region = raw.region_of(owner, self._key(node.step, node.lineage))
            fits = owner.nbytes <= MAX_WASTE * sum(image.nbytes for image in images)
            if fits and all(raw.reference(image, region) is not None for image in images):
                return [(region, True)] * len(images)
        return [
            (raw.region_of(np.ascontiguousarray(image), self._key(node.step, lineage)), False)
            for image, lineage in zip(images, lineages, strict=True)
        ]

    def _hand_on(self, parent: _Node, tiles: list[_Node]) -> None:
        """Store `tiles` for the next operation and name it in the tasks that follow."""
        region = tiles[0].region
        # Of a region that other tiles of this task share, only this parent's share counts.
        share = float(fraction(parent.lineage) / fraction(self.task.lineage))
        fits = region.size_bytes * share <= MAX_WASTE * sum(tile.image.nbytes for tile in tiles)
        if region is tiles[-1].region and not region.stored and not fits:
            for tile in tiles:
                copy = np.ascontiguousarray(tile.image)
                tile.image, tile.region = copy, raw.region_of(copy, self._key(parent.step, tile.lineage))
        for tile in tiles:
            if not tile.region.stored:
                self._measure(parent.step).store_bytes += tile.region.size_bytes
            raw.write(tile.region, self.context.work)
            pixels = raw.reference(tile.image, tile.region)
            update = {"step": tile.step, "lineage": tile.lineage, "pixels": pixels, "attempt": 1}
            self.follow.append(self.task.model_copy(update=update))

    def _write_output(self, tile: _Node) -> None:
        name = output_name(self.task.stem, leaf_index(tile.lineage), self.task.encoding)
        key = keys.output_key(self.task.destination, name)
        data = encode(tile.image, self.task.encoding)
        self.context.output.write(key, memoryview(data))
        self.outputs.append(key)
        self._measure(tile.step - 1).store_bytes += data.nbytes
        self.settled.append(self._settled(tile.lineage))

    def _isolated(self, tile: _Node, act: Callable[[_Node], None]) -> None:
        try:
            act(tile)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one tile fails, its siblings go on
            tile.step -= 1
            self._failed(tile, error)

    def _failed(self, node: _Node, error: Exception) -> None:
        fate = _fate(error, self.task.attempt)
        if not isinstance(fate, Fail):  # `Unavailable` never comes here
            fate = Fail(str(error))
        self.failed.append(fate)
        self._measure(node.step).failed += 1
        self.settled.append(self._settled(node.lineage, fate.reason, node.step))

    def _settled(self, lineage: Lineage, reason: str | None = None, step: int = 0) -> Settled:
        task = self.task
        return Settled(batch=task.batch, image=task.image, run=task.run, lineage=lineage, reason=reason, step=step)

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
    found = [(image.shape, image.dtype) for image in images]
    expected = [((size.height_px, size.width_px, raw.CHANNELS), np.dtype(np.uint8)) for size in sizes]
    if found != expected or len(images) != fan_out:
        raise RuntimeError(f"step {op} made {found} instead of {expected}, for a fan-out of {fan_out}")
