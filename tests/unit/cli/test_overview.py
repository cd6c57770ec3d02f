import os
import subprocess
import sys

import pytest

from muniflow_cli.commands import exits
from muniflow_cli.main import COMMANDS, run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(name, capsys):
    assert run([name, "--help"]) == exits.OK

    text = capsys.readouterr().out
    assert "Examples:" in text
    assert f"muniflow {name}" in text
    if name != "dead":  # a group: its commands have it
        assert "--json" in text


@pytest.mark.parametrize("name", ["list", "show", "replay", "drop"])
def test_every_command_about_dead_letters_too(name, capsys):
    assert run(["dead", name, "--help"]) == exits.OK

    text = capsys.readouterr().out
    assert f"muniflow dead {name}" in text
    assert "--json" in text


@pytest.mark.parametrize("name", ["show", "merge"])
def test_every_command_about_reports_too(name, capsys):
    assert run(["report", name, "--help"]) == exits.OK

    text = capsys.readouterr().out
    assert "muniflow report" in text
    assert "--json" in text


def test_the_overview_lists_every_command(capsys):
    assert run(["--help"]) == exits.OK

    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_the_overview_imports_nothing_heavy():
    heavy = {"cv2", "numpy", "pika", "pydantic", "rich", "kubernetes", "sqlalchemy"}
    code = "import sys; from muniflow_cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert heavy.isdisjoint(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["run"], "BATCH"),
        (["run", "missing.json"], "missing.json"),
        (["report"], "Missing argument 'ID'"),
        (["report", "merge"], "REPORT"),
        (["report", "merge", "x.json"], "--out"),
        (["up", "--workers", "sharpen=1"], "unknown operation 'sharpen'"),
        (["up", "--chain", "sharpen"], "unknown operation 'sharpen'"),
    ],
)
def test_a_wrong_command_line_is_a_sentence_and_code_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert run(arguments) == exits.USAGE

    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "arguments", [["status"], ["watch"], ["cancel", "x"], ["stages"], ["report", "x"], ["report", "show", "x"]]
)
def test_without_a_stack_it_says_how_to_get_one(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MUNIFLOW_")]:
        monkeypatch.delenv(name)

    assert run(arguments) == exits.UNAVAILABLE

    assert "muniflow up" in capsys.readouterr().err


def test_errors_are_json_when_asked(capsys, tmp_path, monkeypatch):
    import json

    monkeypatch.chdir(tmp_path)

    assert run(["up", "--workers", "sharpen=1", "--json"]) == exits.USAGE

    error = json.loads(capsys.readouterr().err)
    assert error["faults"][0]["place"] == "--workers"
