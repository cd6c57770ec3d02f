"""A cluster of three brokers under faults, in short. Longer: `make test-three-brokers FAULTS=48 SEED=1`."""

import pytest
from tests.support.rows import Rows
from tests.three_brokers.network import REQUIRED, require_network, why_not
from tests.three_brokers.storm import FAULTS_PER_ROUND, KINDS, Round, pauses, round_of, rounds_of, run_round

SHORT = Round("short", 40, ("kill leaders",))


@pytest.mark.timeout(600)
def test_faults_of_a_cluster_change_nothing(tmp_path, capsys):
    require_network()
    stack = run_round(SHORT, tmp_path)
    with capsys.disabled():
        print(f"\nthree brokers: {stack.guarantees}")
    assert stack.guarantees.clean


def test_what_happens_comes_from_the_seed():
    assert round_of(1, 1) == round_of(1, 1) != round_of(1, 2)
    assert set(round_of(1, 1).kinds) == set(KINDS), f"{FAULTS_PER_ROUND} faults are enough for one of each kind"


def test_a_run_that_was_broken_off_goes_on_after_its_last_round(tmp_path):
    out = tmp_path / "rounds.jsonl"
    Rows(out, "round").add({"round": "1-1", "pauses_s": {"kill": [1.0, 3.0]}})
    rows = Rows(out, "round")
    rows.add({"round": "1-2", "pauses_s": {"kill": [2.0]}})
    assert [each.seed for each in rounds_of(1, 3 * FAULTS_PER_ROUND, 60) if each.seed not in rows.known] == ["1-3"]
    assert Rows(out, "round").known == rows.known
    assert pauses([row["pauses_s"] for row in rows.known.values()]) == "kill: 3, median 2.0 s, longest 3.0 s"


def test_where_there_can_be_no_such_network_the_reason_is_said(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "root" in (why_not() or "")
    with pytest.raises(pytest.skip.Exception, match="root"):
        require_network()
    monkeypatch.setenv(REQUIRED, "true")
    with pytest.raises(pytest.fail.Exception, match="root"):
        require_network()
