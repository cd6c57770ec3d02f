"""Each sync of the design, left out: what was said to be durable is lost, so that the suite would see it."""

from collections.abc import Iterator

import pytest
from tests.power_cuts.teeth import DURABLE, TEETH, Tooth, survives
from tests.power_cuts.volumes import FILE_SYSTEMS, Volume, own_mounts, require_cuts, volume

from muniflow.runtime.failpoints import SYNCS


@pytest.fixture(scope="module", params=FILE_SYSTEMS)
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    require_cuts()
    place = tmp_path_factory.mktemp("cut") / "disk"
    with own_mounts(), volume(FILE_SYSTEMS[request.param], place) as made:
        yield made
        assert made.kept == [], "a file that nobody had synced survived"


@pytest.mark.parametrize("what", DURABLE)
def test_what_is_said_to_be_durable_survives(disk: Volume, what: str) -> None:
    assert survives(disk, what)


@pytest.mark.parametrize(("tooth", "what"), [(tooth, what) for tooth in TEETH for what in tooth.what])
def test_a_sync_that_is_left_out(disk: Volume, tooth: Tooth, what: str) -> None:
    if disk.system.name in tooth.on:
        assert survives(disk, what, tooth.left_out) != tooth.lost


def test_every_sync_is_left_out() -> None:
    assert {sync for tooth in TEETH for sync in tooth.left_out} == set(SYNCS)
