"""The client against a real HTTP server that answers from a table."""

from contextlib import closing

import pytest
from tests.support.http_server import LocalHandler, LocalServer

from muniflow.errors import Invalid, NotFound, Unavailable
from muniflow.model.api import BatchStatus, ImageList, ImageStatus
from muniflow_cli.commands.client import CoordinatorApi

STATUS = BatchStatus(batch_id="a b", state="running", destination="a")
PAGES = [
    ImageList(images=(ImageStatus(image=0, source="0.jpg", state="done"),), next=0),
    ImageList(images=(ImageStatus(image=1, source="1.jpg", state="done"),)),
]
ANSWERS = {
    "/v1/batches/a%20b": (200, STATUS.model_dump_json()),
    "/v1/batches/a/images": (200, PAGES[0].model_dump_json()),
    "/v1/batches/a/images?after=0": (200, PAGES[1].model_dump_json()),
    "/v1/batches/newer": (200, STATUS.model_dump_json()[:-1] + ', "mood": "fine"}'),
    "/v1/batches/cut-short": (200, STATUS.model_dump_json()),
    "/v1/batches/odd": (200, "<html>"),
    "/v1/batches/broken": (500, '{"error": "the ledger is locked"}'),
}


@pytest.fixture(scope="module")
def coordinator():
    class Handler(LocalHandler):
        def do_GET(self):
            code, text = ANSWERS.get(self.path, (404, '{"error": "not found"}'))
            self.send_response(code)
            self.send_header("Content-Length", str(len(text) + (10 if self.path.endswith("cut-short") else 0)))
            self.end_headers()
            self.wfile.write(text.encode())

    with closing(LocalServer(Handler)) as server:
        yield CoordinatorApi(f"{server.url}/")


def test_a_coordinator_that_dies_in_the_middle_of_its_answer_is_away(coordinator):
    with pytest.raises(Unavailable, match="IncompleteRead"):
        coordinator.batch("cut-short")


def test_a_batch_by_an_id_with_a_space(coordinator):
    assert coordinator.batch("a b") == STATUS


def test_images_page_by_page(coordinator):
    assert [image.source for image in coordinator.images("a")] == ["0.jpg", "1.jpg"]


def test_fields_of_a_newer_coordinator_are_ignored(coordinator):
    assert coordinator.batch("newer") == STATUS


def test_a_batch_that_is_not_known(coordinator):
    with pytest.raises(NotFound, match="knows no batch 'x'"):
        coordinator.batch("x")


@pytest.mark.parametrize(("batch", "said"), [("odd", "not understood"), ("broken", "500: the ledger is locked")])
def test_an_answer_that_helps_nobody_names_the_coordinator(coordinator, batch, said):
    with pytest.raises(Unavailable, match=said):
        coordinator.batch(batch)


def test_nobody_answers():
    with pytest.raises(Unavailable, match="the coordinator at"):
        CoordinatorApi("http://127.0.0.1:1").info()


@pytest.mark.parametrize("url", ["", "nonsense", "http://[", "ftp://host", "http://"])
def test_an_address_that_is_none_names_its_variable(url):
    with pytest.raises(Invalid, match="MUNIFLOW_COORDINATOR_URL"):
        CoordinatorApi(url)
