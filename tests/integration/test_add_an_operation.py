"""`docs/guides/add-an-operation.md`, followed word for word in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.stacks import ROOT, CommandLine, kill_stack

from muniflow_cli.stack.broker import find_server

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]
FILE_AND_CODE = re.compile(r"^`(services/\S+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BATCH = re.compile(r"^with `mirror\.json`:\n\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def guide():
    return (ROOT / "docs/guides/add-an-operation.md").read_text()


@pytest.fixture(scope="module")
def muniflow(guide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    for name, code in FILE_AND_CODE.findall(guide):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code)
    site = folder / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    subprocess.run([sys.executable, *install, folder / "services/mirror"], check=True, timeout=120)
    shutil.copytree(ROOT / "examples", folder / "examples")
    (batch,) = BATCH.findall(guide)
    (folder / "mirror.json").write_text(batch)
    return CommandLine(folder, {"PYTHONPATH": str(site)})


def images_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_the_guide_names_every_file_of_the_package(guide):
    assert [name.removeprefix("services/mirror/") for name, _ in FILE_AND_CODE.findall(guide)] == [
        "pyproject.toml",
        "muniflow_mirror/__init__.py",
        "muniflow_mirror/params.py",
        "muniflow_mirror/step.py",
        "muniflow_mirror/__main__.py",
    ]


def test_the_new_operation_runs_on_both_engines_with_the_same_bytes(muniflow, broker):
    here = muniflow("run", "mirror.json", "--out", "here")
    assert here.returncode == 0, here.stderr
    stack = replace(muniflow, variables={**muniflow.variables, "MUNIFLOW_AMQP_URL": broker.amqp_url})
    up = stack("up", "--detach", timeout_s=200)
    assert up.returncode == 0, up.stderr
    try:
        submitted = stack("submit", "mirror.json", "--wait")
    finally:
        kill_stack(muniflow.state_dir)
    assert submitted.returncode == 0, submitted.stderr

    outputs = images_below(muniflow.folder / ".muniflow/output/mirrored")

    assert len(outputs) == 6 * 4
    assert outputs == images_below(muniflow.folder / "here/mirrored")


def test_a_wrong_parameter_is_named_with_what_is_allowed(muniflow):
    wrong = (muniflow.folder / "mirror.json").read_text().replace('"vertical"', '"diagonal"')
    (muniflow.folder / "wrong.json").write_text(wrong)

    done = muniflow("run", "wrong.json")

    assert done.returncode == 2
    assert "operations[2]: 'diagonal' is no axis; write horizontal or vertical" in done.stderr
