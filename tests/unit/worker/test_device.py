"""`MUNIFLOW_DEVICE`: a worker, the filter and the local engine compute where they are told, or say why not."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tests.support.compute_help import files, picture, spec, task, write_source
from tests.support.opencl import NO_DEVICE
from tests.support.worker_help import WorkerHarness, published

from muniflow.compute.device import MAX_DIFFERENCE
from muniflow.errors import Invalid
from muniflow.images.decode import decode
from muniflow.model.topology import step_queue
from muniflow.runtime.settings import DeviceSettings, read_env
from muniflow.worker.settings import WorkerSettings

pytest_plugins = ["tests.support.opencl_fixtures"]

IMAGES = 3


@pytest.fixture
def root(tmp_path):
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(61, 40, number))
    return tmp_path


def new_world(root):
    return WorkerHarness(spec(root, device="opencl"), ("smooth",), WorkerSettings(device="opencl"))


def test_the_device_is_the_cpu_where_none_is_named():
    assert read_env(WorkerSettings, {}).device == read_env(DeviceSettings, {}).device == "cpu"
    with pytest.raises(Invalid, match=r"MUNIFLOW_DEVICE: .*'cpu' or 'opencl'.*'cuda'"):
        read_env(WorkerSettings, {"MUNIFLOW_DEVICE": "cuda"})


@pytest.mark.usefixtures("opencl_env")
def test_a_worker_says_on_which_device_it_computes(root, caplog):
    caplog.set_level("INFO")
    harness = new_world(root)
    said = [harness.worker.not_ready()]

    def stop_when_complete():
        said.append(harness.worker.not_ready())
        if len(harness.coverage) == IMAGES:
            harness.worker.stop()

    harness.on_settled = stop_when_complete
    harness.run(published([task(f"{n}.png", "smooth", image=n) for n in range(IMAGES)]))
    assert harness.exit_code == 0
    assert said[:2] == ["the opencl device is tried", None]
    (line,) = [record for record in caplog.records if record.message == "computing on opencl"]
    assert "OpenCL" in line.device_name
    series = [sample for metric in harness.registry.collect() for sample in metric.samples]
    assert [sample.labels["device"] for sample in series if sample.name == "muniflow_worker_info"] == ["opencl"]


def test_a_worker_without_its_device_refuses_and_takes_no_task(root, caplog, monkeypatch):
    for name, value in NO_DEVICE.items():
        monkeypatch.setenv(name, value)
    harness = new_world(root)
    harness.run(published([task("0.png", "smooth")]))
    assert harness.exit_code == 1
    reason = "compute children cannot start: MUNIFLOW_DEVICE: opencl was asked for, and OpenCV finds no OpenCL device"
    assert (harness.worker.not_ready() or "").startswith(reason)
    assert [record.message.startswith(reason) for record in caplog.records if record.levelname == "ERROR"] == [True]
    assert harness.sample("muniflow_deliveries_total", step="smooth", redelivered="false") == 0
    assert harness.broker.depths()[step_queue("smooth")] == 1


def command(root, *arguments, document=None, output="output", **env):
    stores = {"MUNIFLOW_SOURCE_URL": str(root / "source"), "MUNIFLOW_OUTPUT_URL": str(root / output)}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        input=None if document is None else json.dumps(document),
        env={**os.environ, **stores, "MUNIFLOW_WORK_URL": str(root / "work"), **env},
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip


def pixels(folder):
    return {name: decode(memoryview(data)) for name, data in files(folder).items() if name.endswith(".png")}


def alike(folder, other):
    one, two = pixels(folder), pixels(other)
    assert one.keys() == two.keys()
    return len(one) > 0 and all(np.abs(one[name].astype(int) - two[name]).max() <= MAX_DIFFERENCE for name in one)


FILTER = {"route": [["blur", "gaussian"]], "source": "0.png", "output": "png"}


@pytest.mark.usefixtures("opencl_env")
def test_the_filter_computes_on_the_device(root):
    for output, device in (("on-cpu", "cpu"), ("on-opencl", "opencl")):
        done = command(root, "muniflow_blur", "once", document=FILTER, output=output, MUNIFLOW_DEVICE=device)
        assert (done.returncode, done.stderr) == (0, "")
    assert alike(root / "on-cpu", root / "on-opencl")


def test_the_filter_refuses_without_its_device(root):
    done = command(root, "muniflow_blur", "once", document=FILTER, MUNIFLOW_DEVICE="opencl", **NO_DEVICE)
    assert done.returncode == 2
    assert done.stderr.startswith("MUNIFLOW_DEVICE: opencl was asked for")
    assert files(root / "output") == {}


BATCH = {
    "batch_id": "b", "municipality": "Utrecht", "source": "", "output": "png",
    "operations": [["resize", "150%"], ["split", True], ["blur", "median"]],
}  # fmt: skip


def run_batch(root, jobs, output, **env):
    (root / "batch.json").write_text(json.dumps(BATCH))
    arguments = ("muniflow_cli.main", "run", "batch.json", "--jobs", str(jobs), "--json")
    return command(root, *arguments, output=output, **env)


@pytest.mark.usefixtures("opencl_env")
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_local_engine_computes_on_the_device(root, jobs):
    for output, device in (("on-cpu", "cpu"), ("on-opencl", "opencl")):
        done = run_batch(root, jobs, output, MUNIFLOW_DEVICE=device)
        assert done.returncode == 0, done.stderr
    assert len(pixels(root / "on-cpu")) == 4 * IMAGES
    assert alike(root / "on-cpu", root / "on-opencl")


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_local_engine_refuses_without_its_device(root, jobs):
    done = run_batch(root, jobs, "output", MUNIFLOW_DEVICE="opencl", **NO_DEVICE)
    assert done.returncode == 2
    assert "MUNIFLOW_DEVICE: opencl was asked for, and OpenCV finds no OpenCL device here" in done.stderr
