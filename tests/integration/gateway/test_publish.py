"""The Python program of `docs/guides/publish.md`, run as it stands there against a real stack."""

import json
import re
import subprocess
import sys

import pytest
from tests.integration.stacks import ROOT, TIMEOUT_S, clean_environment

pytestmark = pytest.mark.timeout(300)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def program(muniflow):
    """The program of the page, beside the stack."""
    (program,) = PROGRAM.findall((ROOT / "docs/guides/publish.md").read_text())
    (muniflow.folder / "publish.py").write_text(program)


def publish(stack, file):
    """Run the program; returns its exit code and the notice that it printed."""
    done = subprocess.run(
        [sys.executable, "publish.py", file],
        cwd=stack.folder,
        env={**clean_environment(), "MUNIFLOW_AMQP_URL": stack.state.amqp_url},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_published_batch_is_done_and_once_more_is_the_same_batch(stack, muniflow, http):
    file = muniflow.write_batch("published")
    for _ in range(2):
        code, notice = publish(stack, file)
        assert (code, notice["batch"], notice["state"], notice["failed"]) == (0, "published", "done", 0)

    images = http.get("/v1/batches/published/report").json()["images"]
    rows = http.get("/v1/batches/published/report.ndjson")
    assert rows.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in rows.text.splitlines()] == images
    table = http.get("/v1/batches/published/report.csv")
    assert (table.headers["content-type"], table.text.count("\r\n")) == ("text/csv; charset=utf-8", len(images) + 1)


def test_a_rejected_batch_ends_the_program_with_its_errors_and_is_kept(stack, muniflow, http):
    code, notice = publish(stack, muniflow.write_batch("wrong", operations=[["rotate", 90]]))
    assert (code, notice["state"]) == (1, "rejected")
    assert [fault["place"] for fault in notice["faults"]] == ["operations[0]"]

    [kept] = [
        batch for batch in http.get("/v1/batches?state=rejected").json()["batches"] if batch["batch_id"] == "wrong"
    ]
    listed = http.get("/v1/batches").json()["batches"]
    assert kept in listed
    assert (kept["state"], kept["ended"], kept["faults"]) == ("rejected", True, notice["faults"])
    shown = muniflow.read("status", "wrong")
    assert (shown["state"], shown["faults"]) == ("rejected", notice["faults"])
    assert "wrong" in {each["batch_id"] for each in muniflow.read("status")["rejected"]}
    assert "operations[0]" in muniflow("status", "wrong").stdout
