"""Erasing over HTTP and by the command line, on a live stack: a search of stores and ledger finds nothing."""

import pytest
from tests.integration.gateway.help import ACTIONS, form, picture
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


def places_of(stack, marker):
    """Files of the stores and of the ledger that hold the marker, in their names or their bytes."""
    wanted = marker.encode()
    stores = [path for path in stack.folder.rglob("*") if "broker" not in path.parts and path.suffix != ".log"]
    ledger = list(stack.state_dir.glob("ledger.db*"))
    assert ledger, "the ledger is elsewhere"
    return [
        path for path in {*stores, *ledger} if marker in path.name or (path.is_file() and wanted in path.read_bytes())
    ]


def submit(http, stack, marker, *names):
    actions = {**ACTIONS, "name": marker, "municipality": marker}
    files = [(f"{marker}-{name}.jpg", picture(0)[1]) for name in names]
    answer = http.post("/v1/batches", **form(*files, actions=actions))
    assert answer.status_code == 202, answer.text
    batch_id = answer.json()["batch_id"]
    assert stack.settled(batch_id)["state"] == "done"
    return batch_id


def test_a_batch_is_erased_over_http(http, stack):
    batch_id = submit(http, stack, "duinlaan", "a", "b")
    assert len(places_of(stack, "duinlaan")) >= 5
    answer = http.delete(f"/v1/batches/{batch_id}?erase=true")
    assert answer.status_code == 202, answer.text
    eventually(lambda: http.get(f"/v1/batches/{batch_id}").status_code == 404)
    eventually(lambda: not places_of(stack, "duinlaan"), what=lambda: str(places_of(stack, "duinlaan")))
    assert http.get(f"/static/{batch_id}/").status_code == 404


def test_a_batch_whose_id_was_sent_once_more_does_not_come_back(http, stack):
    batch = {**ACTIONS, "batch_id": "zuidwal", "images": [f"examples/images/{picture()[0]}"]}
    assert http.post("/v1/batches", json=batch).status_code == 202
    assert stack.settled("zuidwal")["state"] == "done"
    assert http.post("/v1/batches", json={**batch, "output": "png"}).status_code == 409
    assert http.delete("/v1/batches/zuidwal?erase=true").status_code == 202
    eventually(lambda: http.get("/v1/batches/zuidwal").status_code == 404)


def test_one_image_is_erased_by_the_command_line(http, stack, muniflow):
    batch_id = submit(http, stack, "veldweg", "a", "b")
    done = muniflow("erase", batch_id, "--image", "1", "--yes", "--wait")
    assert done.returncode == 0, done.stderr
    eventually(lambda: not places_of(stack, "veldweg-b"), what=lambda: str(places_of(stack, "veldweg-b")))
    assert len(places_of(stack, "veldweg-a")) >= 3
    assert http.get(f"/v1/batches/{batch_id}/images/0/outputs/0").is_success
    assert http.get(f"/v1/batches/{batch_id}/images/1/outputs/0").status_code == 404
    trail = muniflow("audit", "--batch", batch_id).stdout
    assert "erased image 1: 1 outputs, 1 reports, 1 uploaded images" in trail


@pytest.mark.parametrize(("query", "status"), [("erase=true&image=7", 404), ("image=0", 422)])
def test_what_cannot_be_erased_is_refused(http, stack, query, status):
    batch_id = submit(http, stack, "kadepad", "a")
    assert http.delete(f"/v1/batches/{batch_id}?{query}").status_code == status
    assert http.get(f"/v1/batches/{batch_id}").is_success
