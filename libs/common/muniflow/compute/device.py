"""Where pixels are computed: on the CPU, or through OpenCL (`cv2.UMat`) on a GPU; docs/adr/0013-opencl.md.

Decided once, when a process is set up. On the CPU steps are taken as they are. On an OpenCL device a step that has a
form for it becomes a step with the same contract, whose `apply` uploads an image once, lets the step chain its
operations there, and downloads the result once.

OpenCL does not survive a fork: `open_device` belongs into the process that computes, never into one that forks it.
"""

from dataclasses import replace
from typing import Any, cast

import numpy as np

from muniflow.compute.step import Step, Steps
from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.images.alpha import WITH_ALPHA
from muniflow.images.opencv import cv2
from muniflow.images.types import Image
from muniflow.model.operation import Size
from muniflow.runtime.settings import CPU, Device, variable

OPENCL_DEVICE = "OpenCL device"
"""The part that is away, where the driver gives errors."""
MAX_DIFFERENCE = 1
"""Gray levels between what an OpenCL device and the CPU make of the same image."""
_OPENCL_ERRORS = frozenset(
    {cv2.Error.OpenCLApiCallError, cv2.Error.OpenCLDoubleNotSupported, cv2.Error.OpenCLInitError}
)
_NOT_FOUND = (
    "opencl was asked for, and OpenCV finds no OpenCL device here; install its driver (`clinfo` lists devices, "
    "OPENCV_OPENCL_DEVICE chooses one), or set MUNIFLOW_DEVICE=cpu"
)


def open_device(device: Device) -> str:
    """Take the device into use in this process and try it; returns its name, for people.

    Raises:
        Invalid: it is not there, or does not compute what the CPU computes.
    """
    if device == CPU:
        return CPU
    cv2.ocl.setUseOpenCL(True)  # without a device it stays off
    trial: Image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    try:
        uploaded = cv2.UMat(trial)  # type: ignore[call-overload]
        # OpenCV would go on in the memory of this process, and say nothing: such memory has no handle of a device.
        if not cv2.ocl.useOpenCL() or not uploaded.handle(cv2.ACCESS_READ):
            raise _invalid(_NOT_FOUND)
        made = cv2.GaussianBlur(uploaded, (5, 5), 0).get()
    except cv2.error as error:
        raise _invalid(f"the OpenCL device cannot be used: {error.err or error}") from None
    difference = int(np.abs(made.astype(np.int16) - cv2.GaussianBlur(trial, (5, 5), 0)).max())
    used = cv2.ocl.Device.getDefault()
    name = f"{used.name()} ({used.version()}, driver {used.driverVersion()})"
    if difference > MAX_DIFFERENCE:
        raise _invalid(f"{name} computes wrong pixels: {difference} gray levels from what the CPU makes")
    return name


def on_device(steps: Steps, device: Device) -> Steps:
    """`steps` as they compute on `device`, which must be open in the process that applies them."""
    return steps if device == CPU else {name: _on_opencl(step) for name, step in steps.items()}


def _on_opencl(step: Step) -> Step:
    if step.on_opencl is None and step.alpha_on_opencl is None:
        return step

    def apply(image: Image, params: Any) -> list[Image]:
        height_px, width_px, channels = image.shape
        compute = step.on_opencl if channels < WITH_ALPHA else step.alpha_on_opencl
        if compute is None:
            return step.apply(image, params)
        try:
            uploaded = cv2.UMat(image)  # type: ignore[call-overload]
            return [cast("Image", made.get()) for made in compute(uploaded, Size(width_px, height_px), params)]
        except cv2.error as error:
            if error.code in _OPENCL_ERRORS:
                # Of the machine, not of the image: elsewhere, or in a new child, it may work.
                raise Unavailable(OPENCL_DEVICE, str(error.err)) from None
            raise

    return replace(step, apply=apply)


def _invalid(problem: str) -> Invalid:
    return Invalid((Fault(variable("device"), problem),))
