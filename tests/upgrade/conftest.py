"""The older build, and one stack for the short form of the walk."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import BrokerOfTests
from tests.upgrade import builds
from tests.upgrade.builds import Build, NoBuildError
from tests.upgrade.walk import Place, Walk, walking

IMAGES = 30


def the_previous(folder: Path) -> Build:
    """The build before this one; skips where it cannot be had, but in CI that is a failure."""
    try:
        return builds.get(builds.previous(), folder)
    except NoBuildError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def older(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return the_previous(Path(tmp_path_factory.mktemp("older")) / "build")


@pytest.fixture(scope="module")
def walk(broker_of_tests: BrokerOfTests, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A stack that may run on any build; a test says on which it begins."""
    if (node := broker_of_tests.node) is not None and not node.running:  # an earlier test has killed it
        node.kill()
        node.start()
    folder = Path(tmp_path_factory.mktemp("upgrade"))
    with walking(Place(folder, broker_of_tests.settings, node, IMAGES, seed=1)) as made:
        yield made
