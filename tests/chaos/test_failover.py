"""Three coordinators, and a PostgreSQL that crashes and is replaced by its standby. Longer: `make failover`."""

import pytest
from tests.chaos.failover import COORDINATORS, Round, rounds_of, run_round
from tests.chaos.rounds import FAULTS_PER_ROUND

SHORT = Round("failover-short", 80, ("coordinator", "database", "worker", "coordinator"))


def test_what_is_killed_comes_from_the_seed():
    assert rounds_of(1, 40, 100) == rounds_of(1, 40, 100) != rounds_of(2, 40, 100)
    assert [len(each.kinds) for each in rounds_of(1, 40, 100)] == [FAULTS_PER_ROUND, 10]
    assert all("database" in each.kinds for each in rounds_of(1, 40, 100))


@pytest.mark.timeout(400)
def test_a_standby_that_is_promoted_in_mid_batch_changes_nothing(node_settings, tmp_path, capsys):
    found = run_round(SHORT, tmp_path, node_settings.settings, node_settings.node)
    with capsys.disabled():
        print(f"\nfailover, {COORDINATORS} coordinators: {found}")
    assert found.clean
