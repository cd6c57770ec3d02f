"""The other end of `opencl.OpenClProcess`: pickles on stdin and stdout."""

import pickle
import sys
from typing import Any

from muniflow.compute.device import on_device, open_device
from muniflow.compute.step import installed_steps


def answer(value: Any) -> None:
    pickle.dump(value, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def main() -> None:
    try:
        answer(open_device("opencl"))
    except Exception as error:  # noqa: BLE001 - said by the parent
        answer(RuntimeError(str(error)))
        return
    steps = on_device(installed_steps(), "opencl")
    while True:
        try:
            op, params, image, (top, bottom, left, right) = pickle.load(sys.stdin.buffer)  # noqa: S301 - our parent
        except EOFError:
            return
        image.flags.writeable = False  # as pixels from the work store are
        step = steps[op]
        try:
            answer(step.apply(image[top:bottom, left:right], step.operation.params.model_validate(params)))
        except Exception as error:  # noqa: BLE001 - said by the parent
            answer(RuntimeError(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
