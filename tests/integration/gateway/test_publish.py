"""The programs of `examples/clients`, run as they stand there against a real stack."""

import json
import shutil
import subprocess
import sys

import pytest
from tests.integration.stacks import ROOT, TIMEOUT_S, clean_environment

pytestmark = pytest.mark.timeout(300)
CLIENTS = ROOT / "examples/clients"
INSTALL_S = 240


def install(folder, command, *arguments):
    """Fetch a client's library into a copy of its folder; without the program itself, the test is skipped."""
    program = shutil.which(command)
    if program is None:
        pytest.skip(f"needs {command}, which is not on the path")
    subprocess.run([program, *arguments], cwd=folder, check=True, timeout=INSTALL_S)
    return program


def python_client(_folder):
    return [sys.executable, CLIENTS / "python/publish.py"]


def node_client(folder):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, which is not on the path")
    copy = shutil.copytree(CLIENTS / "node", folder / "node", ignore=shutil.ignore_patterns("node_modules"))
    install(copy, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock")
    return [node, copy / "publish.mjs"]


def go_client(folder):
    install(CLIENTS / "go", "go", "build", "-o", str(folder / "publish"), ".")
    return [folder / "publish"]


@pytest.fixture(scope="module", params=[
    python_client,
    pytest.param(node_client, marks=pytest.mark.clients),
    pytest.param(go_client, marks=pytest.mark.clients),
])  # fmt: skip
def client(request, tmp_path_factory):
    """How a program is called, once its library is there."""
    return request.param(tmp_path_factory.mktemp("client"))


@pytest.fixture
def publish(client, stack):
    """Runs the program; returns its exit code and the JSON that it printed."""

    def run(file):
        done = subprocess.run(
            [*client, file],
            cwd=stack.folder,
            env={**clean_environment(), "MUNIFLOW_AMQP_URL": stack.state.amqp_url, "MUNIFLOW_API_URL": stack.url},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_a_published_batch_is_done_and_once_more_is_the_same_batch(publish, muniflow, http):
    file = muniflow.write_batch("published")
    for _ in range(2):
        code, report = publish(file)
        assert (code, report["batch_id"], report["state"], report["totals"]["failed"]) == (0, "published", "done", 0)

    images = http.get("/v1/batches/published/report").json()["images"]
    assert report["images"] == images
    rows = http.get("/v1/batches/published/report.ndjson")
    assert rows.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in rows.text.splitlines()] == images
    table = http.get("/v1/batches/published/report.csv")
    assert (table.headers["content-type"], table.text.count("\r\n")) == ("text/csv; charset=utf-8", len(images) + 1)


def test_a_rejected_batch_ends_the_program_with_its_errors_and_is_kept(publish, muniflow, http):
    code, faults = publish(muniflow.write_batch("wrong", operations=[["rotate", 90]], weight=0))
    assert code == 1
    assert [fault["place"] for fault in faults] == ["weight", "operations[0]"]

    kept = next(
        batch for batch in http.get("/v1/batches?state=rejected").json()["batches"] if batch["batch_id"] == "wrong"
    )
    listed = http.get("/v1/batches").json()["batches"]
    assert kept in listed
    assert (kept["state"], kept["ended"]) == ("rejected", True)
    assert kept["faults"] == [{"reason_code": None, **fault} for fault in faults]
    shown = muniflow.read("status", "wrong")
    assert (shown["state"], shown["faults"]) == ("rejected", kept["faults"])
    assert "wrong" in {each["batch_id"] for each in muniflow.read("status")["rejected"]}
    assert "operations[0]" in muniflow("status", "wrong").stdout
