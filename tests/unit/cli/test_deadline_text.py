"""What the command line says of a deadline."""

from datetime import datetime

import pytest

from muniflow.model.api import BatchStatus
from muniflow.model.messages import Notice
from muniflow_cli.commands.turns import deadline_text

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
