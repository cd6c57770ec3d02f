"""What the command line says of a deadline."""

from datetime import datetime

import pytest

from muniflow.model.api import BatchStatus
from muniflow.model.messages import Notice
from muniflow_cli.commands import exits
from muniflow_cli.commands.turns import deadline_text
from muniflow_cli.main import run

NOON = datetime(2030, 6, 1, 12).astimezone().timestamp()


@pytest.mark.parametrize(
    ("judged", "text"),
    [
        ((None, None, None), ""),
        ((NOON + 3600, None, None), "deadline 13:00:00"),
        (
            (NOON + 3600, True, NOON + 60),
            "deadline 13:00:00: feasible; the earliest time, with max replicas, is 12:01:00",
        ),
        (
            (NOON - 1, False, NOON + 86_400),
            "deadline 11:59:59: not feasible; the earliest time, with max replicas, is 2030-06-02 12:00",
        ),
    ],
)
def test_a_deadline_is_named_with_the_earliest_time(judged, text):
    fields = dict(zip(("deadline_at", "feasible", "earliest_at"), judged, strict=True))

    assert deadline_text(Notice(batch="b", state="running", **fields), NOON) == text
    assert deadline_text(BatchStatus(batch_id="b", state="running", destination="b", **fields), NOON) == text


def test_a_deadline_that_has_passed_is_named_with_the_other_faults_of_a_file(tmp_path, capsys):
    """Before anything is sent: the deadline of a file that is right may have passed since it was sent first."""
    path = tmp_path / "batch.json"
    path.write_text('{"source": "in", "operations": [["turn", 1]], "deadline": "2001-01-01T00:00:00Z"}')

    assert run(["submit", str(path)]) == exits.USAGE

    said = capsys.readouterr().err
    assert "operations[0]: unknown operation" in said
    assert "deadline: is in the past" in said
