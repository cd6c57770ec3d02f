"""`muniflow recover` on a real broker."""

import json

from click.testing import CliRunner
from pydantic import SecretStr

from muniflow.model.messages import Encoding, RouteStep, Task
from muniflow.model.operation import installed_operations
from muniflow.model.topology import TASKS_EXCHANGE, dead_queue, delay_exchange, express_queue, step_queue, topology
from muniflow.transport.admin import (
    BrowsedMessage,
    Verdict,
    browse,
    open_channel,
    publish_all,
    publish_once,
    queue_depths,
)
from muniflow.transport.types import OutgoingMessage
from muniflow_cli.commands.recover import command

TASK = Task(
    batch="lost", image=7, source="a.jpg", stem="a", destination="lost", encoding=Encoding(format="jpg"),
    route=(RouteStep(op="resize"), RouteStep(op="blur")), step=1,
)  # fmt: skip
DEAD = {operation: dead_queue(step_queue(operation)) for operation in ("resize", "blur")}


def test_queued_tasks_move_to_the_dead_letters_unless_somebody_takes_them(broker, monkeypatch):
    url = broker.amqp_url
    monkeypatch.setenv("MUNIFLOW_AMQP_URL", url.get_secret_value() if isinstance(url, SecretStr) else url)
    declared = topology(installed_operations())
    waiting = [
        OutgoingMessage(step_queue("resize"), b"no task", TASKS_EXCHANGE),
        OutgoingMessage(express_queue("blur"), TASK.to_bytes(), TASKS_EXCHANGE),
    ]
    publish_all(broker, waiting, declared)
    before = {name: depth.ready for name, depth in queue_depths(broker, DEAD.values()).items()}
    with open_channel(broker) as channel:
        channel.basic_consume(step_queue("resize"), lambda *_: None)
        refused = CliRunner().invoke(command, ["--json"], standalone_mode=False)
        assert "stop the workers and the coordinator first" in str(refused.exception)
    delayed = OutgoingMessage(step_queue("blur"), TASK.to_bytes(), exchange=delay_exchange(120))
    publish_once(broker, delayed, declared)

    done = CliRunner().invoke(command, ["--json"], standalone_mode=False)

    assert json.loads(done.stdout) == {"moved": 3}, done
    after = {name: depth.ready for name, depth in queue_depths(broker, DEAD.values()).items()}
    assert {name: after[name] - before[name] for name in after} == {DEAD["resize"]: 1, DEAD["blur"]: 2}
    reasons: list[object] = []

    def look(message: BrowsedMessage, _publish: object) -> Verdict:
        if message.body == TASK.to_bytes():
            reasons.append(message.headers["reason"])
        return "remove"

    for queue in DEAD.values():
        browse(broker, queue, look)
    assert len(reasons) == 2
    assert json.loads(CliRunner().invoke(command, ["--json"], standalone_mode=False).stdout) == {"moved": 0}
