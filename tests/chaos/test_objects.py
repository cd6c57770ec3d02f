"""A storm over an S3 server that fails. Longer: `make chaos-objects KILLS=300 IMAGES=2000 SEED=1 OUT=FILE`."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.chaos.faulty_s3 import Asked, Fault, FaultyS3, fault_of, faulty_s3
from tests.chaos.objects import Round, bucket_of, object_stack, round_of, run_round, s3_server, store_at

from muniflow.errors import Unavailable
from muniflow.store.objects import ObjectStore

SHORT = Round(1, 24, ("worker", "coordinator"), fresh=0)
"""Kills, and requests that meet faults of their own. An outage makes late copies of tasks wait for up to 120 s each."""
OUTAGES = Round(2, 40, ("slow_down", "error", "slow_down"), fresh=0)

LEFT_OUT = """
from muniflow.model.settlement import settle
settle.__defaults__ = (1,)
"""
"""A task that meets a fault of its store fails at once: the design tries it again 11 times."""


@dataclass
class Blobs:
    """A bucket behind the proxy, by a client that tries nothing again, and without the proxy."""

    proxy: FaultyS3
    store: ObjectStore
    direct: ObjectStore


@pytest.fixture(scope="module")
def blobs() -> Iterator[Blobs]:
    with s3_server() as server, faulty_s3(server.address) as proxy:
        direct = bucket_of(server, "work")
        yield Blobs(proxy, store_at(proxy.url, "work", retry_config={"max_retries": 0}), direct)


def test_a_server_begins_with_nothing():
    """Another one in the same process had blobs: what is left of a storm must not count for the next one."""
    for number in range(2):
        with s3_server() as server:
            bucket = bucket_of(server, "work")
            assert list(bucket.list()) == []
            bucket.write(f"left/{number}", b"x")


def test_faults_come_from_the_seed():
    assert round_of(1, 1, 30, 200) == round_of(1, 1, 30, 200) != round_of(2, 1, 30, 200)
    asked = [Asked.of("PUT", f"/output/{number}") for number in range(100)]
    fates = [fault_of(1, each, 1) for each in asked]
    assert fates == [fault_of(1, each, 1) for each in asked] != [fault_of(2, each, 1) for each in asked]
    assert "lost_answer" in fates
    assert "cut_answer" not in fates


@pytest.mark.parametrize("fault", ["error", "slow_down", "cut_request", "lost_answer"])
def test_a_fault_reaches_the_client_and_a_lost_answer_has_done_its_work(blobs: Blobs, fault: Fault):
    blobs.proxy.outage = fault
    with pytest.raises(Unavailable):
        blobs.store.write(f"{fault}/a", b"x" * 10_000)
    blobs.proxy.outage = None
    assert blobs.direct.size(f"{fault}/a") == (10_000 if fault == "lost_answer" else None)


def test_half_of_an_answer_is_no_blob(blobs: Blobs):
    blobs.store.write("half/a", b"x" * 10_000)
    blobs.proxy.outage = "cut_answer"
    with pytest.raises(Unavailable):
        blobs.store.read("half/a")
    blobs.proxy.outage = None


def test_a_stale_list_lacks_what_is_new_and_has_what_is_gone(blobs: Blobs):
    for name in ("old", "gone", "new"):
        blobs.store.write(f"list/{name}", b"x")
    written = blobs.proxy.listings.written
    for name in ("old", "gone"):
        at_s, size = written["work", f"list/{name}"]
        written["work", f"list/{name}"] = (at_s - 60, size)
    blobs.store.delete("list/gone")
    blobs.proxy.outage = "stale_list"
    assert [blob.key for blob in blobs.store.list("list/")] == ["list/gone", "list/old"]
    blobs.proxy.outage = None
    assert [blob.key for blob in blobs.store.list("list/")] == ["list/new", "list/old"]


@pytest.mark.timeout(400)
def test_without_its_retries_the_storm_fails(node_settings, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(LEFT_OUT)
    variables = {"PYTHONPATH": str(tmp_path)}
    with (
        object_stack(tmp_path, node_settings.settings, node_settings.node, variables) as stack,
        pytest.raises(AssertionError, match=r"wrong [1-9]"),
    ):
        run_round(OUTAGES, stack)


@pytest.mark.timeout(400)
def test_a_store_that_fails_in_every_way_changes_nothing(node_settings, tmp_path, capsys):
    with object_stack(tmp_path, node_settings.settings, node_settings.node) as stack:
        found = run_round(SHORT, stack)
        with capsys.disabled():
            print(f"\nobjects: {dict(stack.proxy.met)}, {found}")
    assert found.clean
