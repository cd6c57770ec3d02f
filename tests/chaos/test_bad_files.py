"""Files that want to do harm, through real compute children: none dies, memory stays bounded, neighbours are done."""

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.chaos.mutations import mutated
from tests.chaos.truth import seed_of
from tests.unit.images import craft

from muniflow.compute.groups import GroupResult
from muniflow.compute.pending import PendingTask
from muniflow.compute.pool import ComputePool
from muniflow.compute.spec import ChildSpec
from muniflow.compute.types import PoolEvents
from muniflow.model.batch import read_step
from muniflow.model.messages import Encoding, Task
from muniflow.model.operation import installed_operations
from muniflow.runtime.loop import Loop, new_loop

MUTATIONS = int(os.environ.get("MUTATIONS") or "10000")
GROUP = 32
"""Tasks that a child gets at a time; the last one is a good neighbour."""
MEMORY_MB = 1536
"""Address space of a child; about 600 of it are libraries."""
LIMIT_S = 300.0
PILLOW = "13.0.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muniflow-tests"
GOOD = craft.jpeg(craft.photo(40, 28))


@dataclass
class Suite:
    """All files of a folder, as the first step of a route, through two children."""

    root: Path
    keys: list[str]
    reasons: dict[str, str | None] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    peak_mb: float = 0.0

    def run(self) -> None:
        loop = new_loop()
        limits = {"formats": ("jpeg", "png", "webp", "tiff")}
        spec = ChildSpec(
            str(self.root / "source"), str(self.root / "work"), str(self.root / "output"), durable_outputs=False,
            memory_limit_bytes=MEMORY_MB * 2**20, task_timeout_s=20.0, limits=limits,
        )  # fmt: skip
        route = (read_step(["resize", "24x16"], installed_operations(), "route"),)
        tasks = [
            Task(batch="b", image=number, source=key, stem=str(number), destination="out",
                 encoding=Encoding(format="png"), route=route)
            for number, key in enumerate(self.keys)
        ]  # fmt: skip
        groups = [tasks[start : start + GROUP] for start in range(0, len(tasks), GROUP)]
        left = len(groups)

        def done(result: GroupResult) -> None:
            nonlocal left
            left -= 1
            self._record(result)
            if not left:
                pool.stop(loop.stop)

        pool = ComputePool(loop, spec, 2, PoolEvents(on_death=self.deaths.append, on_failed=self.deaths.append))
        pool.start()
        for group in groups:
            pool.submit([PendingTask(task, task.to_bytes()) for task in group], done)
        loop.call_later(LIMIT_S, lambda: pool.stop(loop.stop))
        self._watch(pool, loop)
        loop.start()
        loop.close()

    def _record(self, result: GroupResult) -> None:
        for part in result.settled:
            assert self.keys[part.image] not in self.reasons
            self.reasons[self.keys[part.image]] = part.reason

    def _watch(self, pool: ComputePool, loop: Loop) -> None:
        for pid in pool.pids:
            self.peak_mb = max(self.peak_mb, peak_mb(pid))
        loop.call_later(0.05, lambda: self._watch(pool, loop))

    def outputs(self) -> dict[str, str]:
        """SHA-256 of the outputs by source key."""
        found = {}
        for number, key in enumerate(self.keys):
            path = self.root / "output/out" / f"{number}-0.png"
            if path.exists():
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def summary(self) -> str:
        done = sum(reason is None for reason in self.reasons.values())
        return (
            f"files {len(self.keys)}, done {done}, refused {len(self.reasons) - done}, deaths {len(self.deaths)}, "
            f"peak memory of a child {self.peak_mb:.0f} MB (seed {seed_of()})"
        )


def peak_mb(pid: int) -> float:
    """The largest resident size that a process has had, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def with_neighbours(root: Path, files: Iterable[tuple[str, bytes]]) -> tuple[list[str], list[str]]:
    """Write files into a source store, with a good one at the end of each group; returns all keys and the good ones."""
    keys, good = [], []

    def add(key: str, data: bytes) -> None:
        path = root / "source" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        keys.append(key)

    for key, data in files:
        add(key, data)
        if len(keys) % GROUP == GROUP - 1:
            good.append(f"good/{len(keys)}.jpg")
            add(good[-1], GOOD)
    good.append("good/last.jpg")
    add(good[-1], GOOD)
    return keys, good


def check(suite: Suite, good: list[str]) -> None:
    assert not suite.deaths, suite.deaths[:5]
    assert suite.reasons.keys() == set(suite.keys), "not all came to an end"
    outputs = suite.outputs()
    assert {suite.reasons[key] for key in good} == {None}
    assert len({outputs[key] for key in good}) == 1
    assert outputs.keys() == {key for key, reason in suite.reasons.items() if reason is None}
    assert 10 < suite.peak_mb < MEMORY_MB


@pytest.mark.timeout(LIMIT_S + 60)
def test_mutated_files(tmp_path, capsys):
    files = (
        (f"m{number // 500}/{number}.{kind}", data) for number, (kind, data) in enumerate(mutated(MUTATIONS, seed_of()))
    )
    keys, good = with_neighbours(tmp_path, files)
    suite = Suite(tmp_path, keys)
    suite.run()
    with capsys.disabled():
        print(f"\nmutated {MUTATIONS}: {suite.summary()}")
    check(suite, good)
    refused = sum(reason is not None for reason in suite.reasons.values())
    assert MUTATIONS / 5 < refused < MUTATIONS, "the mutations are too weak or too strong to tell anything"


def corpus() -> Path:
    """Pillow's source distribution, from the cache or by pip; skips the test where it cannot be had."""
    archive = CACHE / f"pillow-{PILLOW}.tar.gz"
    if not archive.exists():
        # Not `:all:`: pip would build all that builds Pillow from source, too, which takes minutes.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", "pillow", "--no-deps",
                   "--retries", "1", "--timeout", "15", "--dest", str(CACHE), f"pillow=={PILLOW}"]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the source distribution of Pillow was not downloaded within 200 s")
        if not archive.exists():
            pytest.skip(f"the source distribution of Pillow cannot be had: {done.stderr.strip()[-300:]}")
    return archive


@pytest.mark.timeout(LIMIT_S + 300)
def test_the_bad_images_that_pillow_is_tested_with(tmp_path, capsys):
    with tarfile.open(corpus()) as archive:
        members = [member for member in archive.getmembers() if "/Tests/images/" in member.name and member.isfile()]
        streams = ((member.name.partition("/images/")[2], archive.extractfile(member)) for member in members)
        keys, good = with_neighbours(
            tmp_path, ((f"pillow/{name}", stream.read()) for name, stream in streams if stream)
        )
    suite = Suite(tmp_path, keys)
    suite.run()
    with capsys.disabled():
        print(f"\nPillow {PILLOW}: {suite.summary()}")
    check(suite, good)
    assert len(keys) > 1000
