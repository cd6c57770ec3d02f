"""How long things take to start: a worker until it consumes, `muniflow --help`; beside a bare Python for scale."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.client import Client
from benchmarks.cluster import Cluster
from benchmarks.corpus import cache_folder
from benchmarks.processes import REPOSITORY, Processes
from benchmarks.statistics import spread
from benchmarks.tables import Result
from muniflow.model.topology import step_queue
from muniflow.runtime.settings import BrokerSettings, to_env

LOOK_S = 0.005


def start(tries: int) -> Result:
    """Start each thing `tries` times, interleaved."""
    folder = Path(tempfile.mkdtemp(prefix="start-", dir=cache_folder()))
    (folder / "source").mkdir()
    taken: dict[str, list[float]] = {}
    try:
        with Cluster(folder / "cluster", folder / "source", []) as cluster, cluster.client() as client:
            operations = ("resize", "split", "blur")
            things: dict[str, Callable[[], float]] = {
                "python -c pass": lambda: _command_s([sys.executable, "-c", "pass"]),
                "muniflow --help": lambda: _command_s([sys.executable, "-m", "muniflow_cli.main", "--help"]),
                **{
                    f"{operation} worker until it consumes": lambda name=operation: _worker_s(cluster, client, name)  # type: ignore[misc]
                    for operation in operations
                },
            }
            for _ in range(tries):
                for name, thing in things.items():
                    taken.setdefault(name, []).append(thing())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = tuple((name, spread(values).text(2)) for name, values in taken.items())
    note = f"median (lowest to highest) of {tries} starts, seconds of wall clock"
    return Result("Start", ("", "seconds"), rows, (note,), taken)


def _command_s(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(list(command), cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _worker_s(cluster: Cluster, client: Client, operation: str) -> float:
    queue = step_queue(operation)
    env = {**os.environ, **to_env(BrokerSettings(amqp_url=cluster.broker.amqp_url), cluster.stores)}
    env |= {"MUNIFLOW_CHILDREN": "1", "MUNIFLOW_HTTP_BIND": "127.0.0.1:0"}
    with Processes(cluster.folder / "logs") as processes:
        started = time.perf_counter()
        processes.python(f"start-{operation}", f"muniflow_{operation}", env=env)
        processes.wait_for(f"a consumer of {queue}", lambda: client.consumers(queue) > 0, every_s=LOOK_S)
        return time.perf_counter() - started
