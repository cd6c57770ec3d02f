"""How long the ledger takes to list, count and replay a million failures: `python -m benchmarks.failures [URL]`.

Answers come from a state store that `open_state` opens, so what is measured is the database with our statements.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from muniflow.model.batch import read_batch
from muniflow.model.ledger import SettledImage
from muniflow.model.operation import installed_operations
from muniflow_coordinator.api.failures import FailureAnswers
from muniflow_coordinator.handlers.commands import SLICE
from muniflow_coordinator.runs.spec import write_spec
from muniflow_coordinator.state import Commit, Counts, ImageRow, NewBatch
from muniflow_coordinator.state.failure_types import Chosen
from muniflow_coordinator.state.opening import open_state
from muniflow_coordinator.state.sql import SqlState

IMAGES = 1_000_000
CODES = ("image_damaged", "source_missing", "not_an_image", "timed_out")
DOCUMENT = b'{"batch_id": "b", "source": "in/", "operations": [["resize", "50%"]], "output": "png"}'


def fill(state: SqlState) -> int:
    """Insert a batch whose images have all failed; returns its number."""
    spec = write_spec(read_batch(DOCUMENT, installed_operations()))
    number = state.insert_batch(NewBatch("b", "f" * 64, spec, "", 1, "b", 0.0))
    for first in range(0, IMAGES, SLICE):
        state.insert_images(number, [ImageRow(n, f"photos/{n:07}", ".jpg") for n in range(first, first + SLICE)])
        settled = [
            SettledImage(n, 0, "failed", (f"operations[0] (resize): {n} is bad",), False, False, CODES[n % 4], "resize")
            for n in range(first, first + SLICE)
        ]
        state.commit([Commit(number, settled=settled, counts=Counts(IMAGES, 0, first + SLICE), state="partial")])
    return number


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Print how long `work` takes, the better of two: on the clock, and of the CPU."""
    times = []
    for _ in range(2):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        result = work()
        times.append((time.perf_counter() - began_s, time.process_time() - cpu_s))
    wall_s, cpu_s = (min(each) for each in zip(*times, strict=True))
    print(f"{name:55} {wall_s * 1000:8.1f} ms, CPU {cpu_s * 1000:8.1f} ms", flush=True)
    return result


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        state = open_state(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/state.sqlite")
        state.take_over("benchmark")
        number = fill(state)
        answers = FailureAnswers(state)
        timed("counts of all", lambda: answers.counts({}))
        timed("counts of a batch and a code", lambda: answers.counts({"batch": "b", "reason_code": "timed_out"}))
        page = timed("first 100", lambda: answers.failures({"limit": "100"}))
        timed("next 100", lambda: answers.failures({"limit": "100", "after": page.next}))
        timed("first 100 of a code", lambda: answers.failures({"limit": "100", "reason_code": "timed_out"}))
        timed("first 100 of the stage", lambda: answers.failures({"limit": "100", "operation": "resize"}))
        timed("one image", lambda: answers.failures({"batch": "b", "image": "999999"}))
        chosen = Chosen(reason_code="timed_out")
        timed("re-opening of one slice of 10,000, of a code", lambda: state.reopen_images(number, range(SLICE), chosen))
        began_s, cpu_s = time.perf_counter(), time.process_time()
        longest_s = 0.0
        for first in range(0, IMAGES, SLICE):
            slice_s = time.perf_counter()
            state.reopen_images(number, range(first, first + SLICE))
            longest_s = max(longest_s, time.perf_counter() - slice_s)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        print(f"re-opening of all: {took_s:.1f} s, CPU {cpu_s:.1f} s, the longest slice {longest_s * 1000:.0f} ms")
        state.close()


if __name__ == "__main__":
    main()
