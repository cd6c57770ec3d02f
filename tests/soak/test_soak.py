"""What the long run calls growth. The run itself: `make long-run MINUTES=60 OUT=FOLDER`."""

import sqlite3
from contextlib import closing

import pytest
from tests.soak.__main__ import conclude
from tests.soak.measures import WARM_UP, Growth, growing, ledger_bytes

LEGS = 12
PAGE_BYTES = 4096


def legs(name: str, *, first: float, step: float) -> list[dict[str, float]]:
    return [{name: first + step * number} for number in range(WARM_UP + LEGS)]


@pytest.mark.parametrize(
    ("name", "first", "step", "grows"),
    [
        ("memory of coordinator", 80.0, 0.0, False),
        ("memory of coordinator", 80.0, 1.0, False),
        ("memory of coordinator", 80.0, 3.0, True),
        ("descriptors of resize-1", 40.0, 2.0, True),
        ("files of outputs", 0.0, 0.0, False),
        ("files of outputs", 0.0, 1.0, True),
        ("messages", 0.0, 0.5, True),
        ("ledger", 1.0, 0.02, False),
        ("ledger", 1.0, 0.2, True),
    ],
)
def test_growth_is_more_than_a_tenth_and_the_slack(name, first, step, grows):
    assert [each.name for each in growing(legs(name, first=first, step=step))] == ([name] if grows else [])


def test_the_audit_trail_is_no_growth_of_the_ledger(tmp_path):
    def rows(table: str, count: int) -> int:
        """Bytes of the ledger with so many more rows."""
        ledger.executemany(f"INSERT INTO {table} VALUES (?)", ((f"{number:0200}",) for number in range(count)))  # noqa: S608
        ledger.commit()
        return ledger_bytes(tmp_path)

    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
        ledger.executescript(
            "CREATE TABLE audit (what); CREATE TABLE images (name); CREATE INDEX by_what ON audit (what);"
        )
        before = rows("images", 1)
        assert rows("audit", 1000) <= before + PAGE_BYTES
        assert rows("images", 1000) > before + 1000 * 200


def test_too_few_legs_say_nothing():
    assert growing(legs("files of outputs", first=0.0, step=1.0)[: WARM_UP + 2]) == []


def test_a_run_that_grows_fails(capsys):
    rows = [
        {"batches": 2, "restarts": 1, "guarantees": {"images": 10}, "measures": each}
        for each in legs("files of outputs", first=0.0, step=1.0)
    ]
    assert conclude(rows, 1) == 1
    said = capsys.readouterr().out
    assert str(Growth("files of outputs", 1.5 + WARM_UP, 9.5 + WARM_UP)) in said
    assert "legs 15, batches 30, restarts 15, growing 1, images 150" in said
