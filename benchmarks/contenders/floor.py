"""The floor: the chain in memory, two processes with one OpenCV thread each, no broker, outputs as plain files."""

import fcntl
import os
import shutil
import struct
import time
from pathlib import Path

from benchmarks.corpus import Corpus
from benchmarks.harness import expect_outputs
from benchmarks.processes import Processes
from benchmarks.routes import BenchRoute
from benchmarks.statistics import Run
from benchmarks.tuning import ALLOCATOR

NUMBER = struct.Struct("<i")
"""The place of an image in the corpus, as it travels to the workers."""
WORD = b"."
"""What a worker says when it is ready, and after each image."""
PROCESSES = 2
PIPE_BYTES = 1 << 20
"""Room for the numbers of all images of a run at once, so that nobody has to feed the workers. Linux lets every user
have so much."""


class Floor:
    """Two processes that take the next image from one shared pipe, so that neither waits for the other."""

    def __init__(self, name: str, *, tuned: bool, fast: bool = False) -> None:
        """`tuned`: with the allocator settings; `fast`: with reduced decode."""
        self.name = name
        self._env = ALLOCATOR if tuned else {}
        self._fast = fast
        self._ends: list[int] = []

    def prepare(self, corpus: Corpus, route: BenchRoute, folder: Path) -> None:
        """Start both and wait until they have loaded OpenCV."""
        self._corpus, self._route, self._output = corpus, route, folder / "output"
        self._processes = Processes(folder)
        arguments = [str(corpus.root / corpus.prefix), route.name, str(self._output), "fast" if self._fast else "exact"]
        numbers, self._numbers = os.pipe()
        self._words, words = os.pipe()
        fcntl.fcntl(self._numbers, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._ends = [self._numbers, self._words]
        for place in range(PROCESSES):
            self._processes.python(
                str(place), "benchmarks.contenders.floor_worker", *arguments, env=self._env, stdin=numbers, stdout=words
            )
        os.close(numbers)
        os.close(words)
        self._await_words(PROCESSES)

    def run(self) -> Run:
        """All images; the clock runs from the first number sent to the last image's word."""
        self._output.mkdir(parents=True)
        spent_s, started = self._processes.cpu_s(), time.perf_counter()
        os.write(self._numbers, b"".join(NUMBER.pack(number) for number in range(self._corpus.count)))
        self._await_words(self._corpus.count)
        run = Run(self._corpus.count, time.perf_counter() - started, self._processes.cpu_s() - spent_s)
        expect_outputs(self._output, self._corpus.count * self._route.outputs_per_image)
        shutil.rmtree(self._output)
        return run

    def close(self) -> None:
        """End both."""
        for end in self._ends:
            os.close(end)
        if self._ends:
            self._processes.close()
        self._ends = []

    def _await_words(self, count: int) -> None:
        while count:
            # Both ends of the words closed (the workers died) reads as nothing.
            words = os.read(self._words, count)
            if not words:
                self._processes.check()
                raise SystemExit(f"{self.name}: its workers ended; see the logs in {self._processes.folder}")
            count -= len(words)
