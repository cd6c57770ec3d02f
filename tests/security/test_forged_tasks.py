"""Tasks that somebody makes up on a live stack: none reads or writes outside of its batch, and none fails an image."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.integration.gateway.help import PICTURES
from tests.support import web
from tests.support.waiting import eventually

from muniflow.model.keys import work_prefix
from muniflow.model.topology import LOST, TASKS_EXCHANGE, express_queue, step_queue
from muniflow.runtime.key_files import drop_key, keys_in, rotate_keys
from muniflow.runtime.settings import BrokerSettings
from muniflow.runtime.state_folder import SIGNING_KEYS, VERIFY_KEYS
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.types import OutgoingMessage

pytestmark = pytest.mark.timeout(180)
OPERATIONS = [["resize", "64x48"], ["blur", "gaussian"]]
VICTIMS_TILE = f"{work_prefix('victim', 0)}0-0-.raw"
COPIES = 70
"""Images of a batch that does not take the express lane, of which a part is in flight."""


class Intruder:
    """Somebody who may publish to the work queues, and hears the tasks of others."""

    def __init__(self, stack, channel):
        self.stack, self.channel = stack, channel
        self.seen: list[dict[str, Any]] = []
        self.inbox = channel.queue_declare("", exclusive=True).method.queue
        for queue in (step_queue("resize"), express_queue("resize")):
            channel.queue_bind(self.inbox, TASKS_EXCHANGE, queue)

    def send(self, task: dict[str, Any], queue: str | None = None):
        name = queue or step_queue(task["route"][task.get("step", 0)]["op"])
        republish(self.channel, OutgoingMessage(name, json.dumps(task).encode(), exchange=""))

    def depth(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def heard(self) -> dict[str, Any] | None:
        body = self.channel.basic_get(self.inbox, auto_ack=True)[2]
        if body is None:
            return None
        self.seen.append(json.loads(body))
        return self.seen[-1]

    def run(self, batch_id, **fields):
        """A batch that has ended; returns one of its tasks."""
        submit(self.stack, batch_id, **fields)
        assert self.stack.settled(batch_id)["state"] == "done"
        return eventually(lambda: (task := self.heard()) and task["batch"] == batch_id and task)


def submit(stack, batch_id, **fields):
    document = {"batch_id": batch_id, "source": "examples/images/", "operations": OPERATIONS, "output": "png", **fields}
    answer = web.post(f"{stack.url}/v1/batches", json=document)
    assert answer.status_code == 202, answer.text


def root(stack, which):
    return stack.folder / urlsplit(getattr(stack.state.stores, f"{which}_url")).path


def outputs(stack) -> dict[str, bytes]:
    folder = root(stack, "output")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("intruder", "victim")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }


def letters(stack) -> list[str]:
    """The reasons of the messages that are kept, oldest first."""
    found: list[str] = []
    after: str | None = "0"
    while after is not None:
        page = web.get(f"{stack.state.coordinator_url}/v1/letters?after={after}").json()
        found += [letter["reason"] for letter in page["letters"]]
        after = page["next"]
    return found


@pytest.fixture(scope="module")
def intruder(stack):
    with open_channel(BrokerSettings(amqp_url=stack.state.amqp_url)) as channel:
        yield Intruder(stack, channel)


@pytest.fixture(scope="module")
def tasks(stack, intruder):
    """A task of the intruder's own batch and one of somebody else's; beside these, what neither may read."""
    shutil.copyfile(PICTURES[1], stack.folder / "elsewhere.jpg")
    found = {name: intruder.run(name) for name in ("intruder", "victim")}
    raw = root(stack, "work") / VICTIMS_TILE
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_bytes(bytes(48 * 64 * 3))
    return found


def tile(key: str) -> dict[str, Any]:
    return {"pixels": {"key": key, "width_px": 64, "height_px": 48, "stride_bytes": 192}}


Forge = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
FORGED: dict[str, Forge] = {
    "another destination": lambda own, victim: own | {"destination": victim["destination"], "stem": "x"},
    "another route": lambda own, _: own | {"route": [own["route"][0] | {"params": {"width": 9, "height": 9}}]},
    "another encoding": lambda own, _: own | {"encoding": {"format": "webp"}, "stem": "x"},
    "a foreign source": lambda own, _: own | {"source": "elsewhere.jpg"},
    "a foreign tile": lambda own, _: own | {"step": 1, "tiles": [tile(VICTIMS_TILE)]},
    "another batch's signature": lambda own, victim: victim | {"stem": "x", "grant": own.get("grant")},
    "no signature": lambda _, victim: {key: value for key, value in victim.items() if key != "grant"} | {"stem": "x"},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_task_is_kept_as_a_letter_and_changes_nothing(stack, intruder, tasks, name):
    before, known = outputs(stack), len(letters(stack))
    intruder.send(FORGED[name](tasks["intruder"], tasks["victim"]))
    eventually(lambda: outputs(stack) != before or len(letters(stack)) > known, what=lambda: str(letters(stack)))

    assert outputs(stack) == before
    assert "sign" in letters(stack)[-1] or "is not below" in letters(stack)[-1]


def copies(stack, name) -> list[str]:
    folder = stack.folder / name
    folder.mkdir()
    for number in range(COPIES):
        shutil.copyfile(PICTURES[number % len(PICTURES)], folder / f"{number}.jpg")
    return [f"{number}.jpg" for number in range(COPIES)]


class Stopped:
    """The workers of the first step, without a turn of the processor."""

    def __init__(self, stack):
        self.pids = stack.pids("resize")

    def __enter__(self):
        self._send(signal.SIGSTOP)

    def __exit__(self, *_):
        self._send(signal.SIGCONT)

    def _send(self, number):
        for pid in self.pids:
            os.kill(pid, number)


def test_nobody_fails_an_image_by_a_task_that_comes_back(stack, intruder):
    """What a worker cannot read, and what is given up, fails its image: where the coordinator has signed it."""
    names = copies(stack, "wanted")
    with Stopped(stack):
        submit(stack, "wanted", source="wanted/", images=names)
        for image in range(COPIES):
            intruder.send({"batch": "wanted", "image": image}, LOST)
            intruder.send({"batch": "wanted", "image": image, "tiles": []}, step_queue("split"))
        eventually(lambda: not any(map(intruder.depth, (LOST, step_queue("split")))))
    batch = stack.settled("wanted")

    assert (batch["state"], batch["done"]) == ("done", COPIES)


def test_keys_are_rotated_in_the_middle_of_a_batch_and_nothing_is_lost(stack, intruder):
    signing, verify = (stack.state_dir / name for name in (SIGNING_KEYS, VERIFY_KEYS))
    (before,) = keys_in(signing)
    names = copies(stack, "rotated")
    with Stopped(stack):
        submit(stack, "rotated", source="rotated/", images=names)
        eventually(lambda: (task := intruder.heard()) and task["batch"] == "rotated")
        after = rotate_keys(signing, verify)
        numbers = iter(range(1000))
        eventually(lambda: key_of_a_new_batch(stack, intruder, f"probe-{next(numbers)}") == after)
    batch = stack.settled("rotated")
    for _ in iter(intruder.heard, None):
        pass
    keys = {task["grant"]["key"] for task in intruder.seen if task["batch"] == "rotated"}

    assert (batch["state"], batch["done"]) == ("done", COPIES)
    assert keys == {before.id, after}
    drop_key(signing, verify, before.id)
    assert intruder.run("after")["grant"]["key"] == after


def key_of_a_new_batch(stack, intruder, batch_id):
    submit(stack, batch_id, images=[PICTURES[0].name])
    task = eventually(lambda: (task := intruder.heard()) and task["batch"] == batch_id and task)
    return task["grant"]["key"]
