"""Programs that the bench starts: each with its log, in a session of its own, ended by its process id."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waiting import eventually

from muniflow.runtime.startable import Startable

STOP_S = 20.0
LOG_CHARACTERS = 3000


@dataclass
class Program(Startable):
    """`with Program("etcd", [...], log, answers): ...`."""

    name: str
    command: Sequence[str]
    log: Path
    answers: Callable[[], bool]
    """Whether it is ready."""
    limit_s: float = 120.0
    """Time to become ready, on a busy machine."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, **self.variables},
            )  # fmt: skip
        eventually(self._ready, self.limit_s, lambda: f"{self.name} is ready\n{self.tail}", every_s=0.2)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LOG_CHARACTERS:]

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}\n{self.tail}"
        return self.answers()
