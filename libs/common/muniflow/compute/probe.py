"""Whether compute children will find their device, told before the first is forked.

The fork server itself must never touch OpenCL: its threads and contexts would not survive in the children. So it asks
a fork of its own, which has the limits of a child.
"""

import os
import select
import signal
from contextlib import suppress

from muniflow.compute.child import limit_self
from muniflow.compute.device import open_device
from muniflow.compute.exits import describe
from muniflow.compute.spec import ChildSpec
from muniflow.errors import Fault, Invalid
from muniflow.runtime.settings import CPU, variable

TIME_LIMIT_S = 120.0
"""A driver that compiles its first kernel on a busy machine takes seconds; one that takes longer hangs."""
_FOUND, _NOT_FOUND = b"+", b"-"
_READ_BYTES = 65536


def probe(spec: ChildSpec, time_limit_s: float = TIME_LIMIT_S) -> str:
    """The name of the device on which children with this `spec` compute, for people.

    Raises:
        Invalid: they would have none; or its driver crashed or hung.
    """
    if spec.device == CPU:
        return CPU
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _try_device(spec, writer)
    os.close(writer)
    try:
        found, said = _read_all(reader, time_limit_s)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if found:
        return said
    if said:
        raise Invalid((Fault("", said),))
    how = describe(os.waitstatus_to_exitcode(status))
    problem = f"the OpenCL driver did not come through its trial: {how}, or no answer within {time_limit_s:g} s"
    raise Invalid((Fault(variable("device"), problem),))


def _try_device(spec: ChildSpec, writer: int) -> None:
    """In the fork: write what `open_device` says, and end."""
    status = 1
    try:
        limit_self(spec)
        try:
            answer = _FOUND + open_device(spec.device).encode()
        except Invalid as invalid:
            answer = _NOT_FOUND + str(invalid).encode()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the parent has to say it
            problem = f"the OpenCL device cannot be used: {type(error).__name__}: {error}"
            answer = _NOT_FOUND + str(Fault(variable("device"), problem)).encode()
        os.write(writer, answer)
        status = 0
    finally:
        os._exit(status)


def _read_all(reader: int, time_limit_s: float) -> tuple[bool, str]:
    """Whether there is a device, and its name or what is wrong; nothing where the fork ended without a word."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    # One write of less than a pipe's buffer arrives as a whole.
    answer = os.read(reader, _READ_BYTES) if poll.poll(time_limit_s * 1000) else b""
    return answer[:1] == _FOUND, answer[1:].decode(errors="replace")
