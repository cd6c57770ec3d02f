"""What `muniflow status` says of one batch."""

import pytest
from tests.support.http_server import LocalHandler, LocalServer

from muniflow.model.api import BatchStatus
from muniflow_cli.main import run

STATUS = BatchStatus(batch_id="b", state="partial", destination="b", total=2, done=1, failed=1, report="b/report.json")


@pytest.mark.parametrize("archived_at", [None, 5.0])
def test_an_archived_batch_says_so(monkeypatch, capsys, tmp_path, archived_at):
    body = STATUS.model_copy(update={"archived_at": archived_at}).model_dump_json().encode()

    class Coordinator(LocalHandler):
        def do_GET(self):
            self.answer(200, body)

    coordinator = LocalServer(Coordinator)
    monkeypatch.setenv("MUNIFLOW_COORDINATOR_URL", coordinator.url)
    monkeypatch.chdir(tmp_path)
    assert run(("status", "b")) == 0
    coordinator.close()
    said = capsys.readouterr()
    assert "report: b/report.json" in said.out + said.err
    assert ("archived: its report stands for its images" in said.out + said.err) is (archived_at is not None)
