"""muniflow's local engine, two jobs: no broker, the same compute children, the same bytes."""

import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.cluster import batch_name
from benchmarks.contenders.muniflow_broker import document
from benchmarks.corpus import Corpus
from benchmarks.harness import expect_outputs
from benchmarks.processes import Processes
from benchmarks.routes import BenchRoute
from benchmarks.statistics import Run
from muniflow.model.messages import Decode

JOBS = 2


class MuniflowLocal:
    """A process of its own that runs one batch after the other."""

    def __init__(self, name: str, *, decode: Decode = "exact", durable: bool = True) -> None:
        """`durable=False` shows what it costs that outputs survive a power failure; no claim rests on it."""
        self.name = name
        self._decode: Decode = decode
        self._durable = "durable" if durable else "volatile"
        self._processes: Processes | None = None

    def prepare(self, corpus: Corpus, route: BenchRoute, folder: Path) -> None:
        """Start it."""
        self._corpus, self._route, self._output = corpus, route, folder / "output"
        self._processes = Processes(folder)
        self._engine = self._processes.python(
            "engine", "benchmarks.contenders.local_worker", str(corpus.root), str(folder), str(JOBS),
            self._durable,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self) -> Run:
        """One batch. Its first tenth, in which compute children start, is not timed; its CPU time is counted whole."""
        assert self._processes is not None  # noqa: S101 - prepare came first
        assert self._engine.stdin is not None  # noqa: S101 - it was asked for as a pipe
        assert self._engine.stdout is not None  # noqa: S101 - it was asked for as a pipe
        batch_id = batch_name(self._route.name)
        spent_s = self._processes.cpu_s()
        self._engine.stdin.write(
            json.dumps(document(batch_id, self._corpus, self._route, self._decode)).encode() + b"\n"
        )
        self._engine.stdin.flush()
        line = self._engine.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the engine ended; see the logs in {self._processes.folder}")
        answer = json.loads(line)
        if answer["state"] != "done" or answer["total"] != self._corpus.count:
            raise SystemExit(f"{self.name}: the batch is {answer['state']} with {answer['total']} images")
        expect_outputs(self._output / batch_id, self._corpus.count * self._route.outputs_per_image)
        shutil.rmtree(self._output / batch_id)
        cpu_s = (self._processes.cpu_s() - spent_s) * answer["timed"] / answer["total"]
        return Run(answer["timed"], answer["seconds"], cpu_s)

    def close(self) -> None:
        """End it."""
        if self._processes is not None:
            if self._engine.stdin is not None:
                self._engine.stdin.close()
            self._processes.close()
