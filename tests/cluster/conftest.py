"""One bench for all tests that need an API server; each takes away what it made."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.bench import Bench
from tests.cluster.control_plane import binaries
from tests.cluster.keda import PROGRAMS
from tests.cluster.supplies import HPA, KEDA, Supplies


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster-picture", action="store_true", help="draw the runs of tests/cluster into docs/images")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the control plane's binaries."""
    found = binaries()
    if isinstance(found, str):
        pytest.fail(found)
    if os.geteuid() != 0:
        pytest.fail("the bench mounts and changes users: run it as root")
    return found


@pytest.fixture(scope="session")
def api_server(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The bench, running, with an API server and a kubelet, perhaps without controllers and scheduler."""
    with Bench(programs, Path(tmp_path_factory.mktemp("bench"))) as made:
        yield made


@pytest.fixture(scope="session")
def bench(api_server: Bench) -> Bench:
    """The same, with controllers and the scheduler."""
    if not api_server.plane.managed:
        pytest.fail("no kube-controller-manager or kube-scheduler: run tools/control-plane")
    return api_server


@pytest.fixture(scope="module", params=[HPA])
def supplies(
    bench: Bench, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Supplies]:
    """Broker, Prometheus and metrics, for a namespace of the module's own; a module may name other scalers."""
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    scaler = request.param
    if scaler == KEDA and (lacking := [one for one in PROGRAMS if not (bench.plane.programs / one).exists()]):
        pytest.skip(f"no {' and no '.join(lacking)}: run tools/control-plane --only keda")
    namespace = f"{name}-on-{scaler}"
    with bench.within(namespace), Supplies(bench, Path(tmp_path_factory.mktemp(namespace)), scaler) as made:
        yield made
