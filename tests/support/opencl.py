"""An OpenCL device for tests: Debian's `pocl-opencl-icd`, which computes on the CPU. In child processes only.

OpenCV chooses its device once in a process, and OpenCL does not survive a fork: the process of the tests never opens
it. The fixtures are in `opencl_fixtures`.
"""

import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from tests.support.compute_help import SUPPORT

from muniflow.images.types import Image

ON_CPU = {"OPENCV_OPENCL_DEVICE": ":CPU:"}
NO_DEVICE = {"OPENCV_OPENCL_DEVICE": "disabled"}

Window = tuple[int, int, int, int]
"""Top, bottom, left, right of a view into an image."""


@dataclass
class OpenClProcess:
    """A process that applies steps on the OpenCL device, one after the other."""

    process: "subprocess.Popen[bytes]"

    def device(self) -> str:
        """The name of its device.

        Raises:
            RuntimeError: it has none; the text says why.
        """
        return cast("str", self._answer())

    def apply(self, op: str, params: Mapping[str, Any], image: Image, window: Window) -> list[Image]:
        """What a step makes there of a view into `image`."""
        pickle.dump((op, params, image, window), cast("IO[bytes]", self.process.stdin))
        cast("IO[bytes]", self.process.stdin).flush()
        return cast("list[Image]", self._answer())

    def _answer(self) -> Any:
        answer = pickle.load(cast("IO[bytes]", self.process.stdout))  # noqa: S301 - our own child
        if isinstance(answer, Exception):
            raise answer
        return answer


def start(env: Mapping[str, str], command: Sequence[str] = ("-m", "tests.support.opencl_child")) -> OpenClProcess:
    """Start one; its first answer is its device."""
    return OpenClProcess(
        subprocess.Popen(
            [sys.executable, *command], env=dict(env), cwd=SUPPORT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    )
