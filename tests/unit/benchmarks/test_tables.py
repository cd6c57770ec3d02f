"""What is published: the right ratios, no traces of this machine's paths."""

import json

from benchmarks.results import Circumstances, document, public_command, publish
from benchmarks.statistics import Run
from benchmarks.tables import Result, comparison, markdown

ROUNDS = [{"floor": Run(100, 1.0, 2.0), "chained": Run(100, 0.5, 1.0)}] * 3


def test_a_base_that_did_not_take_part_has_no_column():
    result = comparison("512 px", ROUNDS, ("floor", "celery"))
    assert result.header == ("contender", "images/s", "CPU ms per image", "/ floor", "CPU / floor")
    assert result.rows[1] == ("chained", "200.0 (200.0 to 200.0)", "10.0 (10.0 to 10.0)", "2.00 (2.00 to 2.00)",
                              "0.50 (0.50 to 0.50)")  # fmt: skip


def test_markdown_has_as_many_cells_in_every_line():
    lines = [line for line in markdown(comparison("t", ROUNDS, ("floor",))).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {6}


def test_a_cell_cannot_break_the_table():
    assert "| a\\|b |" in markdown(Result("t", ("x",), (("a|b",),)))


def test_paths_are_not_published():
    command = public_command(["compare", "--photos", "/home/me/p", "--other=/srv/x", "--sizes", "512"])
    assert command == "python -m benchmarks compare --photos PATH --other=PATH --sizes 512"


def test_the_document_names_command_and_machine():
    text = document("compare", Circumstances("python -m benchmarks compare", "2026-01-01", 0.5, {"cores": "2"}), [])
    assert "`python -m benchmarks compare`" in text
    assert "cores 2; load average before: 0.5" in text


def test_both_files_are_written_and_agree(tmp_path):
    file = publish("compare", ["compare"], 0.1, [comparison("512 px", ROUNDS, ("floor",))], tmp_path)
    stored = json.loads((file.parent / "raw" / f"{file.stem}.json").read_text())
    assert stored["results"][0]["raw"][0]["floor"] == {"images": 100, "seconds": 1.0, "cpu_s": 2.0}
    assert "| chained | 200.0" in file.read_text()
