"""Runs batches on the local engine: the JSON of a batch on each line of standard input, its times on each of output."""

import json
import sys
import time
from pathlib import Path

from muniflow.compute.spec import ChildSpec
from muniflow.model.batch import read_batch
from muniflow.model.operation import installed_operations
from muniflow_cli.engine.account import ImageResult
from muniflow_cli.engine.local import run_batch

STARTING = 0.1
"""The part of a batch that is not timed: compute children start with each run, a floor's are there already."""


def main() -> None:
    """Serve until the pipe is closed."""
    source, folder, jobs, durable = sys.argv[1:]
    spec = ChildSpec(
        source_url=f"file://{source}",
        work_url=f"file://{folder}/work",
        output_url=f"file://{folder}/output",
        durable_outputs=durable == "durable",
    )
    operations = installed_operations()
    for name in ("work", "output"):
        Path(folder, name).mkdir(parents=True, exist_ok=True)
    for line in sys.stdin:
        batch = read_batch(line, operations)
        settled: list[float] = []

        def on_image(_: ImageResult, settled: list[float] = settled) -> None:
            settled.append(time.perf_counter())

        started = time.perf_counter()
        result = run_batch(batch, spec, jobs=int(jobs), on_image=on_image)
        ended = time.perf_counter()
        began = settled[int(len(settled) * STARTING)]
        answer = {
            "state": result.state,
            "total": len(settled),
            "timed": sum(at > began for at in settled),  # images of a group are settled at once
            "seconds": ended - began,
            "whole_s": ended - started,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
