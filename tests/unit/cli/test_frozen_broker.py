"""A broker whose process is frozen takes connections and says nothing: every command that asks it ends alike, soon."""

import json
import socket
from typing import Any

import pytest
from pika.exceptions import AMQPHeartbeatTimeout
from tests.support.http_server import LocalHandler, LocalServer

from muniflow.model.api import BatchStatus
from muniflow.model.api_failures import FailureCount, FailureCounts
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import admin
from muniflow_cli.commands import exits
from muniflow_cli.main import run

ANSWERS = {
    "/v1/batches/b": BatchStatus(batch_id="b", state="running", destination="out/b"),
    "/v1/failures/counts": FailureCounts(
        groups=(FailureCount(batch_id="b", reason_code="crashed", operation="blur", images=1),)
    ),
}


class _Coordinator(LocalHandler):
    def do_GET(self):
        self.answer(200, ANSWERS[self.path.partition("?")[0]].model_dump_json().encode())


@pytest.fixture
def frozen(monkeypatch, tmp_path):
    """Its address. The kernel takes connections for a process that is stopped."""
    coordinator = LocalServer(_Coordinator)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MUNIFLOW_AMQP_URL", f"amqp://guest:guest@{place}/%2F")
        monkeypatch.setenv("MUNIFLOW_COORDINATOR_URL", coordinator.url)
        monkeypatch.setenv("MUNIFLOW_CONNECT_TIMEOUT_S", "0.5")
        monkeypatch.chdir(tmp_path)
        yield place
    coordinator.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel", "b"),
        ("dead", "replay", "--batch", "b"),
        ("dead", "drop", "--batch", "b", "--yes"),
        ("recover",),
        ("submit", "batch.json"),
    ],
    ids=" ".join,
)
def test_every_command_that_asks_the_broker_ends_alike(frozen, capsys, tmp_path, arguments):
    document = {"batch_id": "b", "source": "images/", "operations": [["resize", "50%"]], "output": "jpg"}
    (tmp_path / "batch.json").write_text(json.dumps(document))

    assert run(arguments) == exits.UNAVAILABLE

    expected = f"error: broker is unavailable: RabbitMQ at {frozen} was silent for longer than 0.5 s\n"
    assert capsys.readouterr().err == expected


class _FallsSilent:
    """A connection whose broker freezes after the last answer: the close is never answered."""

    is_open = True

    def __init__(self, parameters):
        self.heartbeat = parameters.heartbeat

    def channel(self):
        return self

    def confirm_delivery(self):
        pass

    def close(self):
        raise AMQPHeartbeatTimeout("no activity")


def test_a_broker_that_freezes_after_its_last_answer_spoils_nothing(monkeypatch):
    monkeypatch.setattr(admin, "BlockingConnection", _FallsSilent)
    with admin.open_channel(BrokerSettings(heartbeat_s=300)) as channel:
        stub: Any = channel
        assert stub.heartbeat == admin.HEARTBEAT_S, "how long a command waits is not the setting of services"
