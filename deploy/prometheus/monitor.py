"""Prometheus with our rules beside a stack of this machine: for `make monitor`, and for the tests of the dashboards."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from muniflow.errors import MuniflowError
from muniflow.runtime.startable import Startable
from muniflow_cli.stack.state import StackState
from muniflow_cli.stack.waiting import wait_until

RULES = Path(__file__).parent / "rules"
RUNBOOKS = "docs/guides/operate.md"
"""Where the rules say that runbooks are: the file's path in the repository. The chart puts an address in its place."""
FAMILIES = ("queue_coarse_metrics", "queue_consumer_count")
START_TIMEOUT_S = 30.0
INSTALL = "Prometheus is not installed: apt-get install prometheus (scripts/bootstrap monitor does it)"


def targets_of(state: StackState) -> list[str]:
    """Where the processes of a stack serve their metrics."""
    return [_host(process.url) for process in state.processes if process.url]


def configuration(rules: Iterable[Path], targets_file: Path, state: StackState, every_s: int) -> dict[str, Any]:
    """The configuration of Prometheus.

    Args:
        rules: files with rules.
        targets_file: where `write_targets` writes; Prometheus looks for changes by itself.
        state: the stack, for its broker.
        every_s: how often to scrape and to evaluate.
    """
    jobs: list[dict[str, Any]] = [{"job_name": "muniflow", "file_sd_configs": [{"files": [str(targets_file)]}]}]
    if state.rabbitmq_metrics_url:
        broker = [{"targets": [_host(state.rabbitmq_metrics_url)]}]
        jobs.append({"job_name": "rabbitmq", "static_configs": broker})
        jobs.append(
            {
                "job_name": "rabbitmq-queues",
                "metrics_path": "/metrics/detailed",
                "params": {"family": list(FAMILIES)},
                "static_configs": broker,
            }
        )
    return {
        "global": {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": jobs,
    }


def quick_rules(folder: Path, every_s: int) -> list[Path]:
    """Copies of our rules that are evaluated each `every_s` seconds and link to this machine's runbooks."""
    folder.mkdir(parents=True, exist_ok=True)
    runbooks = (RULES.parents[2] / RUNBOOKS).resolve().as_uri()
    copies = []
    for path in sorted(RULES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text().replace(f"{RUNBOOKS}#", f"{runbooks}#"))
        for group in document["groups"]:
            group["interval"] = f"{every_s}s"
        copy = folder / path.name
        copy.write_text(yaml.safe_dump(document))
        copies.append(copy)
    return copies


def write_targets(path: Path, targets: Iterable[str]) -> None:
    """Tell Prometheus whom to ask; it looks at the file when it is replaced."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps([{"targets": sorted(targets)}]))
    temporary.rename(path)


@dataclass
class LocalServer(Startable):
    """A server of this machine that ends with us."""

    folder: Path
    """Its configuration, data and log."""
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    name: ClassVar[str]
    ready_path: ClassVar[str]
    """Answered with 200 once it is ready."""

    def command(self) -> Sequence[str]:
        """Prepare `folder`; return how it is called.

        Raises:
            MuniflowError: it is not installed; the text says what to do.
        """
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Variables beside our own."""
        return {}

    @property
    def url(self) -> str:
        """Its page and API."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            MuniflowError: it is not installed, or does not start; the text says what to do.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        command, log = self.command(), self.folder / f"{self.name.lower()}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        in_time = wait_until(lambda: self._answers() or not self.running, START_TIMEOUT_S)
        if not in_time or not self.running:
            self.stop()
            raise MuniflowError(f"{self.name} does not start:\n{log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pids(self) -> tuple[int, ...]:
        """Its process, once it was started."""
        return () if self._process is None else (self._process.pid,)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{self.ready_path}", timeout=2) as answer:  # noqa: S310 - our own
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
        except OSError:
            return False


@dataclass
class Prometheus(LocalServer):
    """A Prometheus of our own: `with Prometheus(folder, port, configuration) as prometheus: prometheus.query("up")`."""

    configuration: Mapping[str, Any] = field(default_factory=dict)

    name = "Prometheus"
    ready_path = "/-/ready"

    def command(self) -> Sequence[str]:
        """Write the configuration; return how it is called."""
        program = shutil.which("prometheus")
        if program is None:
            raise MuniflowError(INSTALL)
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(dict(self.configuration)))
        return [
            program, f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ]  # fmt: skip

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What Prometheus answers now: series with their labels and value.

        Raises:
            MuniflowError: it does not take the expression.
        """
        found: list[dict[str, Any]] = self._ask("query", {"query": expr})["result"]
        return found

    def history(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """The same over a time, as unix seconds."""
        span = {"query": expr, "start": str(start_s), "end": str(end_s), "step": str(step_s)}
        found: list[dict[str, Any]] = self._ask("query_range", span)["result"]
        return found

    def _ask(self, what: str, values: Mapping[str, str]) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise MuniflowError(f"{values['query']}: {json.load(error).get('error')}") from None
        data: dict[str, Any] = document["data"]
        return data


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc
