"""The command line of a build, kept in one process that forks for each command: its imports take most of a second."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.upgrade.builds import Build

_SERVER = """
import json, os, pkgutil, sys
from importlib import import_module
from importlib.metadata import entry_points

def preload(package):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            import_module(found.name)

def run(command, arguments, folder, env, said, complained):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for number, name in ((1, said), (2, complained)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["muniflow", *arguments]
    try:
        return command()
    except SystemExit as ended:
        return ended.code
    except BaseException:
        import traceback
        traceback.print_exc()
        return 70

[entry] = entry_points(group="console_scripts", name="muniflow")
command = entry.load()
preload(import_module(entry.module.rpartition(".")[0]))
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = run(command, *json.loads(line))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Said:
    """What a command left."""

    code: int
    out: str
    error: str

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.out}\n{self.error}".strip()

    def json(self) -> Any:
        """What it printed with `--json`; `None`: nothing, or no JSON."""
        try:
            return json.loads(self.out)
        except ValueError:
            return None


@dataclass
class CommandLine:
    """`muniflow` of one build, in one folder."""

    build: Build
    folder: Path
    variables: Mapping[str, str]
    count: int = 0
    """Commands that were run."""
    _process: Any = None

    def __call__(self, *arguments: str) -> Said:
        """Run a command."""
        self.count += 1
        said, complained = self.folder / "said", self.folder / "complained"
        request = (arguments, str(self.folder), self._environment(), str(said), str(complained))
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the command line of {self.build.name} ended: {(self.folder / 'server').read_text()}"
        return Said(int(answer), said.read_text(), complained.read_text())

    def write(self, document: Mapping[str, Any]) -> str:
        """A batch file in the folder; returns its name."""
        (self.folder / "batch.json").write_text(json.dumps(dict(document)))
        return "batch.json"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MUNIFLOW_")}
        return {**kept, "XDG_STATE_HOME": str(self.folder / "state"), **self.variables}


@contextmanager
def command_line(build: Build, folder: Path, variables: Mapping[str, str]) -> Iterator[CommandLine]:
    """Start one, and end it."""
    folder.mkdir(parents=True)
    with (
        (folder / "server").open("wb") as log,
        subprocess.Popen(
            [build.python, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        made = CommandLine(build, folder, variables)
        made._process = process
        yield made
