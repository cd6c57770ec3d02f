"""Where children compute: on the device that they were told, or not at all; and the fork server never touches it."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.compute_help import files, picture, spec, write_source
from tests.support.opencl import NO_DEVICE
from tests.support.pool_help import PoolRun, reasons
from tests.support.waiting import LIMIT_S

from muniflow.compute.device import MAX_DIFFERENCE
from muniflow.compute.probe import probe
from muniflow.compute.spec import INSTALLED, ChildSpec
from muniflow.errors import Invalid
from muniflow.images.decode import decode
from muniflow.model.batch import read_step
from muniflow.model.messages import Encoding, RouteStep, Task
from muniflow.model.operation import installed_operations

pytest_plugins = ["tests.support.opencl_fixtures"]

OPENCL_STEPS = "tests.support.compute_steps:opencl_steps"
DRIVERS = ("libOpenCL", "libpocl")
IMAGES = 4


@pytest.fixture
def root(tmp_path):
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(61 + number, 40, seed=number))
    return tmp_path


def task(op, image=0, **params):
    step = RouteStep(op=op, params=params)
    return Task(
        batch="b", image=image, source=f"{image}.png", stem=str(image), destination="out",
        encoding=Encoding(format="png"), route=(step,),
    )  # fmt: skip


def blurs():
    params = read_step(["blur", "gaussian"], installed_operations(), "step").params
    return [task("blur", image, **params) for image in range(IMAGES)]


def drivers_in(pid):
    """The OpenCL libraries that a process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in DRIVERS if name in maps]


class WatchedRun(PoolRun):
    """A pool that is looked at before it ends, with its children alive."""

    def end(self):
        self.child_drivers = [drivers_in(pid) for pid in self.pool.pids]
        server: Any = self.pool._server._process
        self.server_drivers = drivers_in(server.pid)
        super().end()


def run_blurs(root, device, output):
    """The pixels that a pool makes, the drivers loaded in its child and in its fork server, its device's name."""
    run = WatchedRun(spec(root, steps=INSTALLED, device=device, output_url=str(root / output)))
    assert reasons(run.run([blurs()])) == dict.fromkeys(range(IMAGES))
    pixels = {name: decode(memoryview(data)) for name, data in files(root / output).items()}
    (in_child,) = run.child_drivers
    return pixels, {"child": in_child, "server": run.server_drivers}, run.pool.device


@pytest.mark.usefixtures("opencl_env")
def test_children_compute_on_the_device_and_the_fork_server_never_loads_its_driver(root):
    on_cpu, loaded, device = run_blurs(root, "cpu", "output-cpu")
    assert (loaded, device) == ({"child": [], "server": []}, "cpu")
    on_opencl, loaded, device = run_blurs(root, "opencl", "output-opencl")
    assert loaded == {"child": list(DRIVERS), "server": []}
    assert "OpenCL" in device
    assert on_cpu.keys() == on_opencl.keys()
    assert len(on_cpu) == IMAGES
    for name, pixels in on_cpu.items():
        assert np.abs(pixels.astype(int) - on_opencl[name]).max() <= MAX_DIFFERENCE


@pytest.mark.usefixtures("opencl_env")
def test_a_child_that_was_killed_has_a_successor_on_the_device(root):
    run = PoolRun(spec(root, steps=OPENCL_STEPS, device="opencl"))
    killed: list[int] = []

    def kill_once(run):
        if not killed and any(handle.progress.current() for handle in run.pool._handles.values()):
            killed.extend(run.pool.pids)
            os.kill(killed[0], signal.SIGKILL)

    run.on_tick = kill_once
    results = run.run([[task("nap", seconds=0.3)], [task("lost", 1)]])
    assert killed
    assert reasons(results) == {0: None, 1: None}


@pytest.mark.usefixtures("opencl_env")
def test_a_driver_may_reserve_addresses_and_an_image_may_not_take_memory(root):
    run = PoolRun(spec(root, steps=OPENCL_STEPS, device="opencl", memory_limit_bytes=2 * 2**30))
    results = run.run([[task("reserve"), task("greedy", 1), task("smooth", 2)]])
    assert reasons(results) == {
        0: None,
        1: "the image needs more memory than a compute child may use (MUNIFLOW_MEMORY_LIMIT_MB)",
        2: None,
    }
    assert run.deaths == []


@pytest.mark.usefixtures("opencl_env")
def test_a_device_that_gives_errors_makes_a_task_one_to_retry_and_gets_a_new_child(root):
    run = PoolRun(spec(root, steps=OPENCL_STEPS, device="opencl"))
    pids: set[int] = set()
    run.on_tick = lambda run: pids.update(run.pool.pids)
    lost, later = run.run([[task("lost", seconds=1.0)], [task("nap", 1, seconds=0.2)]])
    assert [(taken.disposition, taken.reason) for taken in lost.tasks] == [
        ("retry", "OpenCL device is unavailable: CL_DEVICE_NOT_AVAILABLE")
    ]
    assert reasons([later]) == {1: None}
    assert len(pids) == 2


def test_without_a_device_the_pool_does_not_start(root, monkeypatch):
    for name, value in NO_DEVICE.items():
        monkeypatch.setenv(name, value)
    run = PoolRun(spec(root, device="opencl"))
    assert run.run([blurs()]) == []
    (reason,) = run.failed
    assert reason.startswith("MUNIFLOW_DEVICE: opencl was asked for, and OpenCV finds no OpenCL device here")


@pytest.mark.parametrize(
    ("driver", "limit_s", "problem"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTRAP), LIMIT_S, "signal 5, SIGTRAP"),
        (lambda: time.sleep(60), 0.3, "no answer within 0.3 s"),
        (lambda: 1 / 0, LIMIT_S, "cannot be used: ZeroDivisionError"),
    ],
)
def test_a_driver_that_crashes_or_hangs_is_a_reason_and_not_the_end(monkeypatch, driver, limit_s, problem):
    monkeypatch.setattr("muniflow.compute.probe.open_device", lambda _device: driver())
    with pytest.raises(Invalid, match=problem):
        probe(ChildSpec("source", "work", "output", device="opencl"), time_limit_s=limit_s)


def test_the_cpu_is_not_probed(monkeypatch):
    monkeypatch.setattr("os.fork", lambda: pytest.fail("a fork for nothing"))
    assert probe(ChildSpec("source", "work", "output")) == "cpu"
