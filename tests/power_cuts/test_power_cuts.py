"""Power cuts of a whole stack, in short. Longer: `make power-cuts CUTS=200 SEED=1`."""

import pytest
from tests.power_cuts.stack import PARTS, Layout
from tests.power_cuts.storm import Round, round_of, run_round
from tests.power_cuts.volumes import REQUIRED, require_cuts, why_not

SHORT = Round(
    "short", 3, 40, Layout({"broker": "ext4", "ledger": "xfs", "store": "xfs"}), (("store",), ("ledger",), PARTS)
)
"""The broker, which takes longest to start, loses its power last, with all."""


@pytest.mark.timeout(300)
def test_power_cuts_change_nothing(tmp_path, capsys):
    require_cuts()
    guarantees = run_round(SHORT, tmp_path)
    with capsys.disabled():
        print(f"\npower cuts {guarantees.faults}, {guarantees.counts}")
    assert guarantees.clean


def test_what_is_cut_comes_from_the_seed():
    assert round_of(1, 1) == round_of(1, 1) != round_of(1, 2)
    assert round_of(1, 1).kinds[-1] == PARTS


def test_where_nothing_can_be_cut_the_reason_is_said(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "root" in (why_not() or "")
    with pytest.raises(pytest.skip.Exception, match="root"):
        require_cuts()
    monkeypatch.setenv(REQUIRED, "true")
    with pytest.raises(pytest.fail.Exception, match="root"):
        require_cuts()
