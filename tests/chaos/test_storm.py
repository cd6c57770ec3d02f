"""Random SIGKILLs of everything during one batch. Longer: `make chaos KILLS=300 IMAGES=2000 CHAOS_SEED=7`."""

import os

import pytest
from tests.chaos.harness import Harness
from tests.chaos.pictures import write_pictures
from tests.chaos.storm import VARIABLES, Storm, rage
from tests.chaos.truth import seed_of

KILLS = int(os.environ.get("KILLS") or "20")
IMAGES = int(os.environ.get("IMAGES") or "140")


def test_the_targets_of_a_storm_come_from_its_seed():
    assert Storm(30, 200, 1).targets == Storm(30, 200, 1).targets != Storm(30, 200, 2).targets
    assert "broker" in Storm(2, 10, 1).targets


@pytest.mark.timeout(120 + KILLS * 12)
def test_kills_at_any_moment_change_nothing(node_settings, tmp_path, capsys):
    storm = Storm(KILLS, IMAGES, seed_of())
    with Harness(tmp_path, node_settings.settings, node_settings.node, variables=VARIABLES) as harness:
        images = write_pictures(harness.root("source"), IMAGES, seed_of())
        harness.until_ready()
        guarantees = rage(harness, storm, images)
        with capsys.disabled():
            print(f"\nstorm: {guarantees}")
        assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
        assert [service.left() for service in harness.services.values()] == [[]] * len(harness.services)
