"""A real worker process on a real broker: it serves, drains, dies and comes back without losing or doubling."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.dead_letter_limit import dead_letter_limit, fill
from tests.support.waiting import eventually

from muniflow.images.encode import encode
from muniflow.model.messages import Encoding, RouteStep, Task
from muniflow.model.operation import installed_operations
from muniflow.model.topology import TASKS_EXCHANGE, dead_queue, step_queue
from muniflow.store.local import LocalStore
from muniflow_cli.stack.ports import free_ports

IMAGES = 60
LIMIT_S = 60.0
QUEUE = step_queue("resize")


@pytest.fixture
def root(tmp_path):
    import numpy as np

    noise = np.random.default_rng(1)
    for number in range(IMAGES):
        pixels = noise.integers(0, 255, (96 + number, 128, 3), dtype=np.uint8)
        LocalStore(tmp_path / "source").write(f"{number}.jpg", encode(pixels, Encoding(format="jpg")))
    return tmp_path


def tasks(images=IMAGES):
    resize = RouteStep(
        op="resize", params=installed_operations()["resize"].params.from_short("50%").model_dump(mode="json")
    )
    return [
        Task(
            batch="b", image=n, source=f"{n}.jpg", stem=str(n), destination="out",
            encoding=Encoding(format="png"), route=(resize,),
        )
        for n in range(images)
    ]  # fmt: skip


@contextmanager
def worker(broker, root, module="muniflow_resize", **env):
    (port,) = free_ports(1)
    settings = {
        "MUNIFLOW_AMQP_URL": broker.amqp_url,
        "MUNIFLOW_SOURCE_URL": str(root / "source"),
        "MUNIFLOW_WORK_URL": str(root / "work"),
        "MUNIFLOW_OUTPUT_URL": str(root / "output"),
        "MUNIFLOW_HTTP_BIND": f"127.0.0.1:{port}",
        "MUNIFLOW_DURABLE_OUTPUTS": "false",
    }
    process: Any = subprocess.Popen(
        [sys.executable, "-m", module], env={**os.environ, **settings, **env}, start_new_session=True
    )
    process.http = f"http://127.0.0.1:{port}"
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def get(process, path):
    try:
        with urllib.request.urlopen(process.http + path, timeout=5) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def await_status(process, path, status):
    eventually(lambda: get(process, path)[0] == status, what=f"{path} says {status}")


def outputs(root):
    return sorted(path.name for path in (root / "output").rglob("*.png"))


def test_a_worker_serves_says_so_and_drains(broker, worker_client, root):
    worker_client.publish(tasks())
    with worker(broker, root) as process:
        worker_client.collect(lambda: len(worker_client.coverage) == IMAGES)
        assert get(process, "/livez")[0] == 200
        assert get(process, "/readyz")[0] == 200
        assert f'muniflow_tasks_total{{outcome="done",step="resize"}} {IMAGES}.0' in get(process, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert set(worker_client.reasons.values()) == {None}
    assert len(outputs(root)) == IMAGES
    assert worker_client.depth(QUEUE) == 0


def test_sigterm_hands_back_what_has_not_begun(broker, worker_client, root):
    worker_client.publish(tasks())
    with worker(broker, root, MUNIFLOW_FAILPOINTS="child.after_load=stall:0.05@*", MUNIFLOW_GROUP_TASKS="3") as process:
        worker_client.collect(lambda: worker_client.coverage)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    done = len(outputs(root))
    assert 1 <= done < IMAGES
    with worker(broker, root):
        worker_client.collect(lambda: len(worker_client.coverage) == IMAGES)
    assert len(outputs(root)) == IMAGES


@pytest.mark.parametrize(
    "place", ["child.after_compute", "worker.before_publish", "worker.after_publish", "worker.after_confirm"]
)
def test_a_worker_that_is_killed_loses_nothing(broker, worker_client, root, place):
    worker_client.publish(tasks())
    with worker(broker, root, MUNIFLOW_FAILPOINTS=f"{place}=kill@2", MUNIFLOW_GROUP_TASKS="8") as process:
        assert process.wait(30) == -signal.SIGKILL
    with worker(broker, root):
        worker_client.collect(lambda: len(worker_client.coverage) == IMAGES)
    assert all(coverage.complete for coverage in worker_client.coverage.values())
    assert set(worker_client.reasons.values()) == {None}
    assert len(outputs(root)) == IMAGES


def test_bad_messages_end_in_the_dead_letters_and_bad_images_in_events(broker, worker_client, root):
    (root / "source/1.jpg").write_bytes(b"no image")
    worker_client.channel.basic_publish(TASKS_EXCHANGE, QUEUE, b"no task")
    worker_client.publish(tasks(4))
    with worker(broker, root):
        worker_client.collect(lambda: len(worker_client.coverage) == 4 and worker_client.depth(dead_queue(QUEUE)) == 1)
    assert [image for image, reason in worker_client.reasons.items() if reason] == [1]


def test_a_full_dead_letter_queue_holds_no_worker_up_and_hides_no_failure(broker_of_tests, broker, worker_client, root):
    """The coordinator is away, which would empty it; the events are what its ledger knows of a failed image."""
    if broker_of_tests.node is None:
        pytest.skip("policies are set on a private node only, and this broker is somebody's")
    (root / "source/1.jpg").write_bytes(b"no image")
    with dead_letter_limit(broker_of_tests.node, 1):
        filled = fill(broker, dead_queue(QUEUE))
        worker_client.publish(tasks(4))
        with worker(broker, root) as process:
            worker_client.collect(lambda: len(worker_client.coverage) == 4 and worker_client.depth(QUEUE) == 0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert worker_client.depth(QUEUE) == 0, "it was handed back"
        assert worker_client.depth(dead_queue(QUEUE)) == filled
    assert [image for image, reason in worker_client.reasons.items() if reason] == [1]


def test_a_worker_waits_for_its_broker(root, broker):
    (nobody,) = free_ports(1)
    away = broker.model_copy(update={"amqp_url": f"amqp://127.0.0.1:{nobody}"})
    with worker(away, root) as process:
        await_status(process, "/livez", 200)
        assert get(process, "/readyz")[0] == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_wrong_setting_is_named(root, broker):
    with worker(broker, root, MUNIFLOW_CHILDREN="many") as process:
        assert process.wait(20) == 2
