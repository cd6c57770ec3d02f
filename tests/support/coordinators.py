"""Real coordinator processes, and a worker that only answers: for tests of kills, restarts and takeovers."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from tests.support.declared import declared

from muniflow.model.messages import Events, Settled, Task
from muniflow.model.operation import installed_operations
from muniflow.model.topology import BATCHES, CHANGES, EVENTS, EVENTS_EXCHANGE, NOTIFY_EXCHANGE, step_queue, topology
from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.ports import free_ports

LIMIT_S = 60.0


class CoordinatorProcess:
    """`python -m muniflow_coordinator`, started, killed, stopped and asked."""

    def __init__(self, root: Path, env: Mapping[str, str], name: str = "coordinator") -> None:
        (self.port,) = free_ports(1)
        self.log = root / f"{name}.log"
        self._env = {
            **os.environ,
            "MUNIFLOW_SOURCE_URL": f"file://{root / 'source'}",
            "MUNIFLOW_WORK_URL": f"file://{root / 'work'}",
            "MUNIFLOW_OUTPUT_URL": f"file://{root / 'output'}",
            "MUNIFLOW_HTTP_BIND": f"127.0.0.1:{self.port}",
            "MUNIFLOW_LOG_LEVEL": "INFO",
            **env,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "CoordinatorProcess":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "muniflow_coordinator"], env=self._env, stdout=log, stderr=log,
                start_new_session=True, cwd=self.log.parent,
            )  # fmt: skip
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.kill()
            self._process.wait()

    def terminate(self, limit_s: float = LIMIT_S) -> int:
        self.process.terminate()
        return self.process.wait(limit_s)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and answer; status 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, _body(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _body(error.read())
        except OSError:
            return 0, None

    @property
    def leads(self) -> bool:
        status, info = self.get("/v1/info")
        return status == 200 and info["leader"] and info["connected"]

    @property
    def stands_by(self) -> bool:
        return self.get("/readyz") == (200, {"status": "standby"})

    def done(self, batch: str = "b") -> int:
        """Images of a batch that are done; 0 while nobody answers."""
        status, answer = self.get(f"/v1/batches/{batch}")
        return int(answer["done"]) if status == 200 else 0

    def metric(self, name: str) -> float:
        text = str(self.get("/metrics")[1])
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def _body(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


class NullWorker:
    """Answers every first task of `op` with "done", in a thread of its own, a while after it came."""

    def __init__(self, broker: BrokerSettings, op: str = "blur", delay_s: float = 0.0) -> None:
        self.tasks: Counter[tuple[str, int]] = Counter()
        self._broker = broker
        self._queue = step_queue(op)
        self._delay_s = delay_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(LIMIT_S)

    def _serve(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self._broker.amqp_url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_qos(prefetch_count=16)
            for method, _, body in channel.consume(self._queue, inactivity_timeout=0.1):
                if self._stopping.is_set():
                    break
                if method is not None and body is not None:
                    self._answer(channel, Task.from_bytes(body))
                    channel.basic_ack(method.delivery_tag or 0)
            channel.cancel()

    def _answer(self, channel: BlockingChannel, task: Task) -> None:
        self._stopping.wait(self._delay_s)
        self.tasks[task.batch, task.image] += 1
        events = Events(settled=(Settled(batch=task.batch, image=task.image, run=task.run),))
        channel.basic_publish(EVENTS_EXCHANGE, EVENTS, events.to_bytes())


class User:
    """Submits batches and reads notices, over plain AMQP."""

    def __init__(self, broker: BrokerSettings) -> None:
        declared(broker, topology(installed_operations()))
        self._connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        self.channel = self._connection.channel()
        self.channel.confirm_delivery()
        self._inbox = self.channel.queue_declare("", exclusive=True).method.queue
        for event in CHANGES:
            self.channel.queue_bind(self._inbox, NOTIFY_EXCHANGE, f"batch.{event}.#")

    def submit(self, batch_id: str, **document: Any) -> None:
        base = {"batch_id": batch_id, "source": "in", "operations": [["blur", "gaussian"]], "output": "jpg"}
        self.channel.basic_publish("muniflow", BATCHES, json.dumps(base | document).encode(), mandatory=True)

    def notices(self) -> list[str]:
        """The states of all notices so far."""
        states = []
        while (answer := self.channel.basic_get(self._inbox, auto_ack=True))[2] is not None:
            states.append(json.loads(answer[2])["state"])
        return states

    def depth(self, queue: str) -> int:
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def close(self) -> None:
        self._connection.close()


def pictures(root: Path, count: int) -> None:
    """Source blobs; only their names matter here."""
    folder = root / "source" / "in"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:05}.jpg").write_bytes(b"x")


def report(root: Path, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "output" / batch_id / "report.json").read_bytes())
    return found
