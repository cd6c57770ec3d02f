"""A blur worker with `MUNIFLOW_DEVICE=opencl` on a real broker: the CPU's pixels within 1 gray level, or no start."""

import signal

import numpy as np
import pytest
from tests.integration.test_worker import get, worker
from tests.support.compute_help import files, picture, write_source
from tests.support.opencl import NO_DEVICE

from muniflow.compute.device import MAX_DIFFERENCE
from muniflow.compute.step import installed_steps
from muniflow.images.decode import decode
from muniflow.model.batch import read_step
from muniflow.model.messages import Encoding, RouteStep, Task
from muniflow.model.operation import installed_operations
from muniflow.model.topology import step_queue

pytest_plugins = ["tests.support.opencl_fixtures"]

METHODS = ("gaussian", "updownsampling", "bilateral", "median")
IMAGES = 12
QUEUE = step_queue("blur")


@pytest.fixture
def root(tmp_path):
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(97, 64, seed=number))
    return tmp_path


def blur(number):
    return read_step(["blur", METHODS[number % len(METHODS)]], installed_operations(), "step")


def tasks():
    return [
        Task(
            batch="b", image=n, source=f"{n}.png", stem=str(n), destination="out", encoding=Encoding(format="png"),
            route=(RouteStep(op="blur", params=blur(n).params),),
        )
        for n in range(IMAGES)
    ]  # fmt: skip


def expected(root, number):
    step, image = installed_steps()["blur"], decode(memoryview((root / "source" / f"{number}.png").read_bytes()))
    (made,) = step.apply(image, step.operation.params.model_validate(blur(number).params))
    return made.astype(int)


@pytest.mark.usefixtures("opencl_env")
def test_its_outputs_are_those_of_the_cpu_within_one_gray_level(broker, worker_client, root):
    worker_client.publish(tasks())
    with worker(broker, root, module="muniflow_blur", MUNIFLOW_DEVICE="opencl") as process:
        worker_client.collect(lambda: len(worker_client.coverage) == IMAGES)
        assert get(process, "/readyz")[0] == 200
        assert 'muniflow_worker_info{device="opencl",' in get(process, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert set(worker_client.reasons.values()) == {None}
    made = files(root / "output" / "out")
    assert len(made) == IMAGES
    for number in range(IMAGES):
        difference = decode(memoryview(made[f"{number}-0.png"])) - expected(root, number)
        assert np.abs(difference).max() <= MAX_DIFFERENCE


def test_without_its_device_it_does_not_start_and_leaves_the_work_to_others(broker, worker_client, root, capfd):
    worker_client.publish(tasks())
    with worker(broker, root, module="muniflow_blur", MUNIFLOW_DEVICE="opencl", **NO_DEVICE) as process:
        assert process.wait(30) == 1
    assert "MUNIFLOW_DEVICE: opencl was asked for, and OpenCV finds no OpenCL device here" in capfd.readouterr().err
    assert worker_client.depth(QUEUE) == IMAGES
    # None of them was delivered once: a worker that is started again and again must not use up their deliveries.
    method, properties, _ = worker_client.channel.basic_get(QUEUE)
    assert method.redelivered is False
    assert (properties.headers or {}).get("x-delivery-count", 0) == 0
    worker_client.channel.basic_nack(method.delivery_tag)
