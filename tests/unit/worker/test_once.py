"""The filter on stdin and stdout, as a process, and how it reads what a person writes."""

import json
import os
import subprocess
import sys

import pytest
from tests.support.compute_help import files, picture, write_source

from muniflow.errors import Invalid
from muniflow.model.operation import installed_operations
from muniflow.worker.once import read_input


def once(root, document, module="muniflow_resize", **env):
    stores = {f"MUNIFLOW_{name.upper()}_URL": str(root / name) for name in ("source", "work", "output")}
    body = document if isinstance(document, str) else json.dumps(document)
    command = [sys.executable, "-m", module, "once"]
    return subprocess.run(
        command, input=body, env={**os.environ, **stores, **env}, capture_output=True, text=True, check=False
    )


def faults(document):
    with pytest.raises(Invalid) as raised:
        read_input(json.dumps(document).encode(), {"resize": installed_operations()["resize"]})
    return [str(fault) for fault in raised.value.faults]


def test_a_short_task_is_done(tmp_path):
    write_source(tmp_path, "a.jpg", picture(64, 48))
    done = once(tmp_path, {"route": [["resize", "50%"]], "source": "a.jpg"})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outputs"] == list(files(tmp_path / "output")) == ["once/a-0.jpg"]


def test_what_follows_is_printed_and_can_be_piped_on(tmp_path):
    write_source(tmp_path, "a.jpg", picture(64, 48))
    params = installed_operations()["blur"].params.from_short("gaussian")
    blur = {"op": "blur", "params": params.model_dump(mode="json", exclude_none=True)}
    first = once(tmp_path, {"route": [["resize", "50%"], blur], "source": "a.jpg", "output": "png"})
    (follow,) = json.loads(first.stdout)["follow"]
    assert json.loads(first.stdout)["settled"] == []
    second = once(tmp_path, follow, module="muniflow_blur")
    assert (second.returncode, json.loads(second.stdout)["outputs"]) == (0, ["once/a-0.png"]), second.stderr


def test_one_process_with_several_operations_chains(tmp_path):
    write_source(tmp_path, "a.jpg", picture(64, 48))
    document = {"route": [["resize", "50%"], ["split", True]], "source": "a.jpg"}
    done = once(tmp_path, document, MUNIFLOW_OPERATIONS="resize,split")
    assert json.loads(done.stdout)["outputs"] == [f"once/a-{index}.jpg" for index in range(4)]


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        ({"route": [["resize", "50%"]], "source": "missing.jpg"}, 1, "failed: "),
        ("{", 2, "not JSON"),
        ({"route": [["resize", "50%"]]}, 2, "source: Field required"),
        ({"route": [["resize", "wide"]], "source": "../a.jpg"}, 2, "route[0]"),
        ({"route": [["sharpen", 1]], "source": "a.jpg"}, 2, "route[0]: unknown operation 'sharpen'"),
    ],
)
def test_exit_codes_say_what_happened_and_nothing_is_a_traceback(tmp_path, document, code, text):
    (tmp_path / "source").mkdir()
    done = once(tmp_path, document)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_is_away_is_worth_trying_again(tmp_path):
    done = once(tmp_path, {"route": [["resize", "50%"]], "source": "a.jpg"})
    assert done.returncode == 75
    assert "try again later" in done.stderr


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": "/a.jpg"}, "source: a key is relative"),
        ({"destination": "../x"}, "destination: a key cannot hold empty parts"),
        ({"output": "gif"}, "output: unknown format 'gif'"),
        ({"step": 3}, "step: the route has 1 steps"),
        ({"route": []}, "route: name at least one step"),
        ({"route": [{"op": "blur", "params": {}}]}, "route[0]: 'blur' is not carried here: resize is"),
        ({"colour": 1}, "colour: unknown field"),
    ],
)
def test_faults_are_named_by_their_places(fields, expected):
    assert any(
        fault.startswith(expected) for fault in faults({"route": [["resize", "50%"]], "source": "a.jpg", **fields})
    )
