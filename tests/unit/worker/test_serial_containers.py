"""Each step as a process with JSON on stdin and stdout: the same bytes once more."""

import json
import sys

import pytest
from tests.support.compute_help import files, picture, task, write_source

from muniflow.compute.spec import ChildSpec
from muniflow.errors import Invalid
from muniflow.model.batch import read_batch
from muniflow.model.operation import installed_operations
from muniflow.model.settlement import Fail, Retry
from muniflow.runtime.settings import StoreSettings
from muniflow_cli.engine.local import run_batch
from muniflow_cli.engine.serial_containers import container_command, process_command, run_in_containers, run_task


def stores(root, into):
    return StoreSettings(
        source_url=str(root / "source"), work_url=str(root / f"{into}-work"), output_url=str(root / into)
    )


def test_steps_as_processes_write_what_one_process_writes(tmp_path):
    write_source(tmp_path, "a.jpg", picture(64, 48))
    (tmp_path / "source/b.jpg").write_bytes(b"no image")
    document = {"batch_id": "b", "source": "", "images": ["a.jpg", "b.jpg"]}
    operations = [["resize", "50%"], ["split", "2x1"], ["blur", "median"]]
    batch = read_batch(json.dumps({**document, "operations": operations, "output": "png"}), installed_operations())
    one = stores(tmp_path, "one")
    spec = ChildSpec(one.source_url, one.work_url, one.output_url)
    expected = run_batch(batch, spec)
    found = run_in_containers(batch, stores(tmp_path, "each"), process_command)
    assert (
        (found.state, found.done, found.failed) == (expected.state, expected.done, expected.failed) == ("partial", 1, 1)
    )
    pixels = [
        {key: data for key, data in files(tmp_path / into).items() if key.endswith(".png")} for into in ("one", "each")
    ]
    assert pixels[0] == pixels[1]
    assert list(pixels[0]) == ["b/a-0.png", "b/a-1.png"]
    assert files(tmp_path / "each-work") == {}


@pytest.mark.parametrize(
    ("code", "disposition"),
    [
        ("import sys; sys.stderr.write('away'); sys.exit(75)", Retry(0, "away")),
        ("import sys; sys.stderr.write('no such image'); sys.exit(125)", Fail),
        ("import os; os.abort()", Fail),
        ("print('hello')", Fail),
    ],
)
def test_whatever_a_process_does_is_an_outcome(code, disposition):
    outcome = run_task(task("a.jpg", "half"), (sys.executable, "-c", code), {})
    assert outcome.disposition == disposition or isinstance(outcome.disposition, disposition)


def test_containers_see_the_three_folders_and_no_network(tmp_path):
    command = container_command("docker", lambda operation: f"muniflow-{operation}:1", stores(tmp_path, "out"))
    line = list(command("blur"))
    assert line[-2:] == ["muniflow-blur:1", "once"]
    assert f"{tmp_path}/source:/data/source:ro" in line
    assert "MUNIFLOW_OUTPUT_URL=file:///data/output" in line
    assert line[line.index("--network") + 1] == "none"


def test_containers_need_local_folders():
    with pytest.raises(Invalid, match="need a local folder"):
        container_command("docker", str, StoreSettings(source_url="s3://bucket"))
