"""The Python program of `docs/guides/publish.md`, run as it stands there against a real stack."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from tests.integration.stacks import ROOT, TIMEOUT_S, CommandLine, kill_stack

from muniflow_cli.stack.broker import find_server
from muniflow_cli.stack.state import read_state

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def muniflow(tmp_path_factory):
    muniflow = CommandLine(tmp_path_factory.mktemp("publish"))
    shutil.copytree(ROOT / "examples", muniflow.folder / "examples")
    (program,) = PROGRAM.findall((ROOT / "docs/guides/publish.md").read_text())
    (muniflow.folder / "publish.py").write_text(program)
    up = muniflow("up", "--detach", timeout_s=200)
    assert up.returncode == 0, up.stderr
    yield muniflow
    kill_stack(muniflow.state_dir)


def publish(muniflow, file):
    """Run the program; returns its exit code and the notice that it printed."""
    state = read_state(muniflow.state_dir)
    assert state is not None
    done = subprocess.run(
        [sys.executable, "publish.py", file],
        cwd=muniflow.folder,
        env={**muniflow.environment, "MUNIFLOW_AMQP_URL": state.amqp_url},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_published_batch_is_done_and_once_more_is_the_same_batch(muniflow):
    file = muniflow.write_batch("published")
    for _ in range(2):
        code, notice = publish(muniflow, file)
        assert (code, notice["batch"], notice["state"], notice["failed"]) == (0, "published", "done", 0)


def test_a_rejected_batch_ends_the_program_with_its_errors(muniflow):
    code, notice = publish(muniflow, muniflow.write_batch("wrong", operations=[["rotate", 90]]))
    assert (code, notice["state"]) == (1, "rejected")
    assert [fault["place"] for fault in notice["faults"]] == ["operations[0]"]
