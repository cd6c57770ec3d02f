"""Makers of sources, tasks and contexts for the tests of the compute side."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.support import compute_steps

from muniflow.compute.context import Context
from muniflow.compute.outcome import Outcome
from muniflow.compute.process import process
from muniflow.compute.spec import ChildSpec
from muniflow.images.carried import Carried
from muniflow.images.encode import encode
from muniflow.images.limits import ImageLimits
from muniflow.images.types import Image
from muniflow.model.messages import Encoding, RouteStep, Settled, Task
from muniflow.store.local import LocalStore

SUPPORT = Path(__file__).parents[2]
"""The root of the repository: with it on their path, fork servers find `tests.support.compute_steps`, too."""
STEPS = "tests.support.compute_steps:steps"


def picture(width_px: int, height_px: int, seed: int = 0) -> Image:
    """A smooth picture with some noise, so that codecs and borders have something to do."""
    noise = np.random.default_rng(seed).integers(0, 30, (height_px, width_px, 3))
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    ramp = np.stack([rows * 200 // height_px, columns * 200 // width_px, (rows + columns + seed * 9) % 200], axis=2)
    return (ramp + noise).astype(np.uint8)


def write_source(root: Path, key: str, image: Image, quality: int | None = None, profile: bytes | None = None) -> None:
    kind = key.rpartition(".")[2]
    data = encode(image, Encoding(format=kind, quality=quality), Carried(profile))  # type: ignore[arg-type]
    LocalStore(root / "source").write(key, data)


def route(*steps: str | tuple[str, dict[str, Any]]) -> tuple[RouteStep, ...]:
    known = compute_steps.steps()
    made = []
    for step in steps:
        op, params = (step, {}) if isinstance(step, str) else step
        fan_out = known[op].operation.params.model_validate(params).fan_out
        made.append(RouteStep(op=op, params=params, fan_out=fan_out))
    return tuple(made)


def task(source: str, *steps: str | tuple[str, dict[str, Any]], image: int = 0, **fields: Any) -> Task:
    defaults: dict[str, Any] = {"batch": "b", "destination": "out", "encoding": Encoding(format="png")}
    stem = source.rpartition(".")[0]
    return Task(image=image, source=source, stem=stem, route=route(*steps), **{**defaults, **fields})


def context(root: Path, *, only: str | None = None, **fields: Any) -> Context:
    """A context over `root`; `only` one operation, or all."""
    steps = compute_steps.steps()
    values: dict[str, Any] = {
        "steps": steps if only is None else {only: steps[only]},
        "source": LocalStore(root / "source"),
        "work": LocalStore(root / "work"),
        "output": LocalStore(root / "output"),
        "limits": ImageLimits(),
        "durable_outputs": False,
    }
    return Context(**{**values, **fields})


def spec(root: Path, **fields: Any) -> ChildSpec:
    base = ChildSpec(
        source_url=str(root / "source"),
        work_url=str(root / "work"),
        output_url=str(root / "output"),
        steps=STEPS,
        durable_outputs=False,
        task_timeout_s=20.0,
    )
    return replace(base, **fields)


def run_hop_by_hop(first: Task, root: Path) -> list[Settled]:
    """One operation at a time, through intermediates, as workers without chaining do."""
    waiting = [first]
    settled: list[Settled] = []
    while waiting:
        current = waiting.pop(0)
        outcome = process(current, context(root, only=current.op))
        settled += outcome.settled
        waiting += [Task.from_bytes(follow.to_bytes()) for follow in outcome.follow]
    return settled


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


__all__ = ["Outcome", "context", "files", "picture", "route", "run_hop_by_hop", "spec", "task", "write_source"]
