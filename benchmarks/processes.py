"""Processes of a contender: started together, always ended, each by its own id."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from benchmarks import proc
from muniflow_cli.stack.waiting import POLL_S, wait_until

REPOSITORY = Path(__file__).parent.parent
GRACE_S = 20.0
LOG_CHARACTERS = 2000


class Processes(contextlib.AbstractContextManager["Processes"]):
    """A group of processes with one log each; leaving the context ends them and everything below them."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes the logs."""
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._names: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one; what it says goes to `<name>.log` unless `stdout` says otherwise."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                list(command),
                cwd=REPOSITORY,
                env={**os.environ, **(env or {})},
                stdin=stdin,
                stdout=log if stdout is None else stdout,
                stderr=log,
            )
        self._running.append(process)
        self._names.append(name)
        return process

    def python(
        self,
        name: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a module of ours."""
        return self.start(name, [sys.executable, "-m", module, *arguments], env, stdin, stdout)

    @property
    def pids(self) -> list[int]:
        """The processes started here, without what they started."""
        return [process.pid for process in self._running]

    def cpu_s(self) -> float:
        """CPU seconds of all of them and everything below, so far."""
        return proc.cpu_s(self.pids)

    def check(self) -> None:
        """Fail when one of them has ended."""
        for name, process in zip(self._names, self._running, strict=True):
            if process.poll() is not None:
                # Shown at once: the folder is removed when a benchmark ends.
                log = (self.folder / f"{name}.log").read_text(errors="replace")[-LOG_CHARACTERS:]
                raise SystemExit(f"{name} ended with {process.returncode}. The end of its log:\n{log}")

    def wait_for(
        self, what: str, condition: Callable[[], bool], timeout_s: float = 60.0, *, every_s: float = POLL_S
    ) -> None:
        """Wait for a condition that no event tells of; fails with the name of what did not come."""

        def came() -> bool:
            self.check()
            return condition()

        if not wait_until(came, timeout_s, every_s=every_s):
            raise SystemExit(f"{what} did not come within {timeout_s:.0f} s; see the logs in {self.folder}")

    def close(self) -> None:
        """End all of them: asked first, killed after a while."""
        below = {(stat.pid, stat.started_ticks) for stat in proc.tree(self.pids)}
        for process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + GRACE_S
        for process in reversed(self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()
        for stat in proc.all_stats():
            # Left behind by a parent that was killed.
            if (stat.pid, stat.started_ticks) in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stat.pid, signal.SIGKILL)
        self._running.clear()
        self._names.clear()

    def __exit__(self, *_: object) -> None:
        self.close()
