"""Parts that are away for a while: work waits, says why, and goes on by itself. Nothing is lost or doubled."""

import itertools
from urllib.parse import urlsplit

import pytest
from tests.chaos.harness import Harness, document
from tests.chaos.ledger import locked
from tests.chaos.pictures import write_pictures
from tests.chaos.volume import small_volume
from tests.contract.tcp_proxy import Proxy
from tests.support.inside_broker import TOO_LITTLE_MEMORY, evaluate

IMAGES = 40
SLOW = "child.after_load=stall:0.02@*"
"""Some milliseconds for each task, so that an outage meets a batch at work."""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def proxy(node_settings):
    parts = urlsplit(node_settings.settings.amqp_url)
    made = Proxy(parts.hostname, parts.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(node_settings, proxy, tmp_path_factory):
    """Work and outputs on a volume of their own; every service behind a proxy; impatient with a silent broker."""
    folder = tmp_path_factory.mktemp("outages")
    parts = urlsplit(node_settings.settings.amqp_url)
    variables = {
        "MUNIFLOW_AMQP_URL": node_settings.settings.amqp_url.replace(f":{parts.port}/", f":{proxy.port}/"),
        "MUNIFLOW_HEARTBEAT_S": "5",
        "MUNIFLOW_CONNECT_TIMEOUT_S": "3",
        "MUNIFLOW_WINDOW_IMAGES": "5",
    }
    with small_volume(folder / "volume") as volume:
        roots = {"work": volume.folder / "work", "output": volume.folder / "output"}
        with Harness(folder, node_settings.settings, node_settings.node, variables=variables, roots=roots) as harness:
            write_pictures(harness.root("source"), IMAGES)
            for name, service in harness.services.items():
                if name != "coordinator":
                    service.kill()
                    service.start(SLOW)
            harness.tending = False  # nothing may die here
            harness.until_ready()
            yield harness, volume


@pytest.fixture
def batch(stack):
    """A batch at work; afterwards it must have ended well, without a process that died."""
    harness, _ = stack
    name = f"outage-{next(numbers)}"
    lives = {service.name: service.lives for service in harness.services.values()}
    harness.submit(document(name, sorted(str(path.relative_to(harness.root("source"))) for path in pictures(harness))))
    harness.until(lambda: harness.done_images(name) >= 2, "the first images")
    yield name
    harness.faults += 1
    harness.until_ended(name)
    guarantees = harness.guarantees(name)
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
    assert {service.name: service.lives for service in harness.services.values() if service.running} == lives
    harness.until_clean()


def pictures(harness):
    return [path for path in harness.root("source").rglob("*") if path.is_file()]


def says(harness, batch, text):
    """Whether the status names what the batch waits for."""
    status = harness.status(batch)
    return status is not None and text in (status.waiting_for or "")


def node_of(harness):
    if harness.node is None:
        pytest.skip("needs a broker of our own")
    return harness.node


ALARMS = {
    "memory": [f"vm_memory_monitor:set_vm_memory_high_watermark({limit})" for limit in (TOO_LITTLE_MEMORY, "0.4")],
    "disk": [f'rabbit_disk_monitor:set_disk_free_limit("{limit}")' for limit in ("900000GB", "50MB")],
}
"""What raises each alarm in the node, and what clears it."""


@pytest.mark.parametrize("alarm", list(ALARMS))
def test_an_alarm_of_the_broker(stack, batch, alarm):
    harness, _ = stack
    raised, cleared = ALARMS[alarm]
    evaluate(node_of(harness), raised)
    try:
        harness.until(lambda: says(harness, batch, f"broker: low on {alarm}"), "a status that names the alarm")
        assert "RabbitMQ takes no messages now" in harness.coordinator.text
    finally:
        evaluate(node_of(harness), cleared)


def test_connections_that_are_cut(stack, batch, proxy):
    harness, _ = stack
    for _ in range(5):
        before = harness.done_images(batch)
        proxy.cut()
        harness.until(lambda before=before: harness.done_images(batch) > before or harness.ended(batch), "progress")
    assert "was cut" in harness.coordinator.text


def test_connections_that_lead_nowhere(stack, batch, proxy):
    harness, _ = stack
    proxy.swallow("client", "server")
    try:
        harness.until(lambda: says(harness, batch, "broker: not connected"), "a status that names the broker")
    finally:
        proxy.recover()


@pytest.mark.parametrize("trouble", ["read_only", "full"])
def test_a_store_that_takes_nothing(stack, batch, trouble):
    harness, volume = stack
    with getattr(volume, trouble)():
        reason = "Read-only file system" if trouble == "read_only" else "No space left on device"
        harness.until(lambda: says(harness, batch, reason), "a status that names the store")
        workers = [name for name in harness.services if name != "coordinator"]
        assert any(
            "tasks wait and are tried again: blob store is unavailable" in harness.services[name].text
            for name in workers
        )
        samples = [f'muniflow_tasks_total{{outcome="retry",step="{name.partition("-")[0]}"}}' for name in workers]
        assert any(harness.metric(name, sample) for name, sample in zip(workers, samples, strict=True))


def test_a_locked_ledger(stack, batch):
    harness, _ = stack
    with locked(harness.database_url):
        harness.until(lambda: says(harness, batch, "database"), "a status that names the database")
        assert harness.metric("coordinator", "muniflow_ledger_waiting") == 1
        assert "database unavailable, retrying" in harness.coordinator.text
    harness.until(lambda: "database available again" in harness.coordinator.text, "the database to be available")


def test_all_of_it_together_lost_nothing(stack, capsys):
    harness, _ = stack
    guarantees = harness.guarantees()
    with capsys.disabled():
        print(f"\noutages: {guarantees}")
    assert guarantees.clean
