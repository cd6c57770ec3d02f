"""One process of the stack under test: started, killed and started again, with one address and one log."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniflow_cli.stack.ports import says_ready
from muniflow_cli.stack.processes import session_members
from muniflow_cli.stack.waiting import wait_until

END_S = 30.0
"""Time for orphans to see that their parent is gone; the machine may be busy."""


@dataclass
class Service:
    """A process in a session of its own, so that a kill of its group takes its compute children along."""

    name: str
    module: str
    variables: Mapping[str, str]
    log: Path
    port: int
    python: str = sys.executable
    """Of the build whose code it runs."""
    process: Any = None
    lives: int = 0
    sessions: list[int] = field(default_factory=list)
    """Of every life, to see that nothing of it is left."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        return self.running and says_ready(self.port)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self, failpoints: str = "", **variables: str) -> None:
        """Begin a life; `failpoints` and `variables` are for this one only."""
        assert not self.running, f"{self.name} runs already"
        own = {"MUNIFLOW_HTTP_BIND": f"127.0.0.1:{self.port}", "MUNIFLOW_FAILPOINTS": failpoints}
        self.lives += 1
        with self.log.open("ab") as log:
            log.write(f"--- life {self.lives}, failpoints {failpoints!r}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                [self.python, "-m", self.module],
                env={**self.environment(), **own, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.append(self.process.pid)

    def environment(self) -> dict[str, str]:
        """What it is told, whichever its life."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUNIFLOW_")}
        return {**inherited, **self.variables}

    def kill(self, *, whole_group: bool = True) -> None:
        """SIGKILL: to the group, as when a pod dies, or to the parent alone, as when the kernel ends one process."""
        if self.running:
            (os.killpg if whole_group else os.kill)(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def kill_a_child(self) -> bool:
        """SIGKILL to one process of its session that is not the parent; returns whether there was one."""
        others = [pid for pid in session_members(self.process.pid) if pid != self.process.pid] if self.running else []
        if not others:
            return False
        try:
            os.kill(others[-1], signal.SIGKILL)
        except ProcessLookupError:
            return False  # it has ended by itself meanwhile
        return True

    def terminate(self) -> None:
        if self.running:
            self.process.terminate()

    def left(self) -> list[int]:
        """Processes that outlived their parents; they end by themselves, but not at once."""
        ended = [session for session in self.sessions if not (self.running and session == self.process.pid)]
        wait_until(lambda: not any(session_members(session) for session in ended), END_S)
        return [pid for session in ended for pid in session_members(session)]
