"""A whole local stack for tests, with the command line as its users call it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from muniflow.runtime.state_folder import state_folder
from muniflow_cli.stack.ports import free_ports
from muniflow_cli.stack.processes import kill_group, session_members
from muniflow_cli.stack.state import forget_state, read_state

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 90


def clean_environment():
    """The environment without anything that names another stack."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MUNIFLOW_")}


def kill_stack(folder):
    """End the stack of `folder` at once: `muniflow down` has tests of its own, and its broker takes 6 s to stop."""
    if (state := read_state(folder)) is None:
        return
    kill_group(state.supervisor)  # before the others, which it would start again
    for process in (read_state(folder) or state).left:
        others = session_members(process.identity.pid)
        kill_group(process.identity)
        for pid in others:  # compute children and Erlang's helpers
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    forget_state(folder)


@dataclass(frozen=True)
class CommandLine:
    """`muniflow`, called in one folder."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""

    @property
    def environment(self):
        """Of each command: the state goes beside the folder, not into the user's own; no two stacks want one port."""
        own = {
            "XDG_STATE_HOME": f"{self.folder.absolute()}-state",
            "MUNIFLOW_GATEWAY_BIND": f"127.0.0.1:{free_ports(1)[0]}",
        }
        return {**clean_environment(), **own, **self.variables}

    @property
    def state_dir(self):
        """Where the stack of this folder keeps its state."""
        return state_folder(self.environment, self.folder)

    def __call__(self, *arguments, timeout_s=TIMEOUT_S):
        """Run a command; returns what it left."""
        return subprocess.run(
            [sys.executable, "-m", "muniflow_cli.main", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def read(self, *arguments, code=0, timeout_s=TIMEOUT_S):
        """Run a command with `--json`; returns what it printed."""
        done = self(*arguments, "--json", timeout_s=timeout_s)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def write_batch(self, name, **fields):
        """A batch file in the folder."""
        document = {
            "batch_id": name,
            "source": "examples/images/",
            "operations": [["resize", "50%"], ["split", True], ["blur", "gaussian"]],
            **fields,
        }
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return str(path)
