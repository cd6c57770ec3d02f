"""The OpenCL device of the tests: `pytest_plugins = ["tests.support.opencl_fixtures"]`, then ask for `opencl_env`."""

import os
from collections.abc import Iterator

import pytest
from tests.support.opencl import ON_CPU, OpenClProcess, start


@pytest.fixture(scope="session")
def opencl_process() -> Iterator[OpenClProcess]:
    """A process that applies steps through OpenCL on this machine's CPU."""
    made = start({**os.environ, **ON_CPU})
    try:
        made.device()
    except RuntimeError as error:
        missing = f"no OpenCL for tests (apt-get install pocl-opencl-icd ocl-icd-libopencl1): {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    else:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


@pytest.fixture
def opencl_env(opencl_process: OpenClProcess, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it proves that there is one
    """Processes that this one starts find an OpenCL device."""
    for name, value in ON_CPU.items():
        monkeypatch.setenv(name, value)
