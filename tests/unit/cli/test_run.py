"""`muniflow run`, on the examples: every way to run a batch gives the same bytes."""

import json
from pathlib import Path

import pytest

from muniflow_cli.commands import exits
from muniflow_cli.commands.batch_options import with_options
from muniflow_cli.main import run

ROOT = Path(__file__).parents[3]
ROUTE = [["split", "2x1"], ["blur", "median"]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUNIFLOW_SOURCE_URL", str(ROOT / "examples/images"))
    return tmp_path


def write_batch(folder, **fields):
    document = {"batch_id": "b", "images": ["coffee.png"], "operations": ROUTE, "output": "png", **fields}
    path = folder / "batch.json"
    path.write_text(json.dumps(document))
    return str(path)


def outputs_of(folder):
    return {path.name: path.read_bytes() for path in (folder / "b").glob("*.png")}


def test_every_way_to_run_gives_the_same_bytes(folder, capsys):
    batch = write_batch(folder)
    ways = {"one": ["--jobs", "1"], "two": ["--jobs", "2"], "serial": ["--serial-containers", "--image", "none-{op}"]}

    for out, options in ways.items():
        assert run(["run", batch, "--out", out, *options]) == exits.OK

    one, two, serial = (outputs_of(folder / out) for out in ways)
    assert len(one) == 2
    assert one == two == serial
    assert "each step is a process" in capsys.readouterr().err


def test_an_image_that_is_missing_fails_alone(folder, capsys):
    batch = write_batch(folder, images=["coffee.png", "nowhere.jpg"])

    assert run(["run", batch, "--out", "out", "--jobs", "1", "--json"]) == exits.FAILED

    result = json.loads(capsys.readouterr().out)
    assert (result["state"], result["done"], result["failed"]) == ("partial", 1, 1)
    assert [(image["source"], image["image"]) for image in result["failures"]] == [("nowhere.jpg", 1)]


def test_the_failed_images_are_shown_with_their_reasons(folder, capsys):
    (folder / "[bold]not an image.jpg").write_text("really not")
    batch = write_batch(folder, images=["[bold]not an image.jpg"])

    assert run(["run", batch, "--source", ".", "--out", "out", "--jobs", "1"]) == exits.FAILED

    assert "[bold]not an image.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"operations": [["sharpen", 1]]}, "operations[0]: unknown operation 'sharpen'"),
        ({"images": ["../secret.png"]}, "images[0]"),
        ({"images": ["coffee.png", "coffee.png"]}, "coffee.png"),
        ({"colour": "red"}, "colour: unknown field"),
        ({"images": None, "source": "nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_batch_runs_nothing(fields, said, folder, capsys):
    document = json.loads(Path(write_batch(folder)).read_text()) | fields
    (folder / "batch.json").write_text(
        json.dumps({name: value for name, value in document.items() if value is not None})
    )

    assert run(["run", "batch.json", "--out", "out", "--jobs", "1"]) == exits.USAGE

    assert said in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_batch_can_lie_in_a_store(folder, capsys):
    write_batch(folder)

    assert run(["run", f"file://{folder}/batch.json", "--out", "out", "--jobs", "1"]) == exits.OK
    assert run(["run", f"file://{folder}/nowhere.json", "--out", "out", "--jobs", "1"]) == exits.USAGE
    assert run(["run", "http://host/batch.json", "--out", "out", "--jobs", "1"]) == exits.USAGE

    said = capsys.readouterr().err
    assert f"file://{folder}/nowhere.json: there is no such file" in said
    assert "http://host: is not the address of a store" in said


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"batch_id": 1}'])
def test_what_is_no_batch_at_all_is_a_sentence(text, folder, capsys):
    (folder / "batch.json").write_text(text)

    assert run(["run", "batch.json"]) == exits.USAGE

    assert capsys.readouterr().err.startswith("error: ")


def test_a_store_that_cannot_be_written_is_a_sentence(folder, capsys):
    (folder / "file").touch()

    batch = write_batch(folder, images=["nowhere.jpg"])

    assert run(["run", batch, "--out", str(folder / "file"), "--jobs", "1"]) == exits.UNAVAILABLE

    assert "Traceback" not in capsys.readouterr().err


def test_a_deadline_and_a_priority_change_nothing_here_but_must_be_right(folder, capsys):
    batch = write_batch(folder, deadline="2001-01-01T00:00:00Z")
    options = ["--deadline", "2100-01-01T00:00:00Z", "--priority", "high"]

    assert run(["run", batch, "--out", "out", "--jobs", "1"]) == exits.USAGE
    assert "deadline: is in the past" in capsys.readouterr().err
    assert run(["run", batch, "--out", "out", "--jobs", "1", "--priority", "urgent"]) == exits.USAGE
    assert "priority: " in capsys.readouterr().err
    assert run(["run", batch, "--out", "out", "--jobs", "1", *options]) == exits.OK
    assert len(outputs_of(folder / "out")) == 2


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_options_leave_what_is_no_batch_to_the_reader(document):
    assert with_options(document, deadline="2100-01-01T00:00:00Z", priority="low") == document
