"""What checksums cost: interleaved pairs of batches without and with them, in one process.

`python -m benchmarks.checksums --pairs 30`.
"""

import argparse
import json
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpus import Corpus, SizeClass, corpus
from benchmarks.observability import cpu_s
from muniflow.compute.spec import ChildSpec
from muniflow.model.batch import read_batch
from muniflow.model.checksums import digest
from muniflow.model.operation import installed_operations
from muniflow_cli.engine.local import run_batch

CASES = (
    (SizeClass("512", 512, 512, 40, 40), [["resize", "50%"]]),
    (SizeClass("512", 512, 512, 40, 40), [["resize", "50%"], ["split", True], ["blur", "gaussian"]]),
    (SizeClass("4000x3000", 4000, 3000, 2, 2), [["resize", "50%"]]),
    (SizeClass("4000x3000", 4000, 3000, 2, 2), [["resize", "50%"], ["split", True], ["blur", "gaussian"]]),
)
PAIRS = 30
HASHED_BYTES = 64 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checksums", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--output", default="jpg")
    given = parser.parse_args(arguments)
    data = memoryview(bytes(HASHED_BYTES))
    began_s = _cpu_s()
    digest(data)
    print(f"SHA-256: {HASHED_BYTES / (_cpu_s() - began_s) / 1e9:.2f} GB a second of a core")
    for size, operations in CASES:
        pictures = corpus(size)
        pairs = [_pair(pictures, operations, given.output, first=number % 2 == 0) for number in range(given.pairs)]
        print(_line(pictures, operations, given.output, pairs), flush=True)
    return 0


def _pair(pictures: Corpus, operations: list[list[object]], output: str, *, first: bool) -> tuple[float, float]:
    """CPU seconds for an image, without and with checksums; `first`: those with come first."""
    spent = {checksums: _run(pictures, operations, output, checksums=checksums) for checksums in (first, not first)}
    return spent[False], spent[True]


def _run(pictures: Corpus, operations: list[list[object]], output: str, *, checksums: bool) -> float:
    folder = Path(tempfile.mkdtemp(prefix="checksums-"))
    source = {"source": pictures.prefix, "operations": operations, "output": output, "checksums": checksums}
    batch = read_batch(json.dumps({"batch_id": "b", **source}), installed_operations())
    spec = ChildSpec(str(pictures.root), str(folder / "work"), str(folder / "output"), durable_outputs=False)
    began_s = _cpu_s()
    run_batch(batch, spec, jobs=1)
    spent_s = _cpu_s() - began_s
    shutil.rmtree(folder)
    return spent_s / pictures.count


def _line(pictures: Corpus, operations: list[list[object]], output: str, pairs: list[tuple[float, float]]) -> str:
    off, on = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    shares = [(with_ - without) / without * 100 for without, with_ in pairs]
    error = statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
    route = " → ".join(str(name) for name, *_ in operations)
    read = sum(Path(path).stat().st_size for path in pictures.paths) / pictures.count / 1e3
    return (
        f"{pictures.size.name} px, {read:.0f} kB, {route}, {output}: {off:.2f} → {on:.2f} ms of CPU, "
        f"paired median {statistics.median(shares):+.2f}%, "
        f"mean {statistics.mean(shares):+.2f}% (standard error {error:.2f}), "
        f"{len(pairs)} pairs"
    )


def _cpu_s() -> float:
    return cpu_s(resource.RUSAGE_SELF) + cpu_s(resource.RUSAGE_CHILDREN)


if __name__ == "__main__":
    sys.exit(main())
