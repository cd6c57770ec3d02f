"""What a stack of an earlier muniflow kept in `.muniflow/` goes on in its new place, broker and ledger included."""

import os
import shutil

import pytest
from tests.integration.stacks import ROOT, CommandLine, kill_stack

from muniflow_cli.stack.broker import find_server

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]


def test_ledger_and_queues_are_taken_along(tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "examples", folder / "examples")
    # As it was: the state in the project's folder. Only another source store lets it start so today.
    elsewhere = {"MUNIFLOW_STATE_DIR": ".muniflow", "MUNIFLOW_SOURCE_URL": str(folder / "examples")}
    earlier, now = CommandLine(folder, elsewhere), CommandLine(folder)

    assert earlier("up", "--detach", "--no-gateway", "--workers", "resize=0,split=0,blur=0").returncode == 0
    submitted = earlier.read("submit", earlier.write_batch("waits", source=None, images=["examples/images/coffee.png"]))
    assert submitted["state"] == "running"
    assert earlier("down").returncode == 0

    up = now("up", "--detach", "--no-gateway")

    assert up.returncode == 0, up.stderr
    try:
        assert now.read("watch", "waits")["done"] == 1
    finally:
        kill_stack(now.state_dir)
    assert {path.name for path in (folder / ".muniflow").iterdir() if not path.is_symlink()} <= {"output", "work"}
