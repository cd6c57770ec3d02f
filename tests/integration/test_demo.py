"""`make demo`, as a newcomer sees it."""

import os
import re
import shutil

import pytest
from tests.integration.stacks import ROOT, CommandLine

from muniflow_cli.stack.broker import find_server
from muniflow_cli.stack.place import demo_folder

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]


def test_the_demo(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")

    line = CommandLine(tmp_path)
    done = line("demo", timeout_s=240)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 of 24 outputs are byte-identical on both engines" in done.stdout
    assert "demo: done · images 6/6 · 1 resize 6/6 · 2 split 6/6 · 3 blur 24/24" in done.stdout
    last = done.stdout.strip().splitlines()[-1]
    folder = re.fullmatch(r"outputs: (.+)", last)
    assert folder, last
    assert len(list((tmp_path / folder[1]).glob("*.jpg"))) == 24
    assert not (demo_folder(line.state_dir) / "stack.json").exists(), "everything it started is stopped"


def test_the_demo_says_what_it_needs(tmp_path):
    done = CommandLine(tmp_path)("demo")

    assert done.returncode == 2
    assert "examples/demo.json" in done.stderr
