"""The fork server: imports the step packages once, then forks compute children that start within milliseconds.

A process of its own (`python -m muniflow.compute.forkserver <descriptor>`), single-threaded, that never touches an
image. It talks over one stream socket with the parent:

| from the parent | |
| --- | --- |
| first line | the `ChildSpec` as JSON |
| `F`, with two descriptors | fork a child that uses this socket and this cell |
| `K<pid>` | kill that child, if it still lives |

| to the parent, JSON lines | |
| --- | --- |
| `{"ready": {"operations": […], "device": "…"}}` or `{"failed": "…"}` | once |
| `{"forked": pid}` | for each `F`, in order |
| `{"exited": pid, "status": n}` | an exit code, or minus a signal |

Only this process can wait for the children, so only it can name one by its process id without a race.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from muniflow.compute.spec import ChildSpec
from muniflow.errors import Invalid

if TYPE_CHECKING:
    from muniflow.compute.step import Steps

SIGNALS_OF_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal or a supervisor sends these to the whole group; the parent drains and the children just finish."""
_LINE_BYTES = 65536


@dataclass
class ForkServer:
    """The state of this process."""

    control: socket.socket
    spec: ChildSpec
    steps: "Steps"
    children: set[int] = field(default_factory=set)
    _input: bytearray = field(default_factory=bytearray)
    _descriptors: list[int] = field(default_factory=list)

    def serve(self) -> None:
        """Serve until the parent is gone."""
        wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        for descriptor in (self.control.fileno(), wakeup_read):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if wakeup_read in ready:
                with suppress(BlockingIOError):
                    os.read(wakeup_read, _LINE_BYTES)
            self._reap()
            if self.control.fileno() in ready and not self._receive():
                break
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            os.waitpid(pid, 0)

    def _receive(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, _LINE_BYTES, 16)
        except ConnectionResetError:
            # The parent closed its end with something of ours unread.
            return False
        self._input += data
        self._descriptors += descriptors
        while b"\n" in self._input:
            line, _, rest = bytes(self._input).partition(b"\n")
            self._input[:] = rest
            if line == b"F":
                self._fork(self._descriptors.pop(0), self._descriptors.pop(0))
            elif (pid := int(line[1:])) in self.children:
                os.kill(pid, signal.SIGKILL)
        return bool(data)

    def _fork(self, connection: int, progress: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_child(connection, progress)
        os.close(connection)
        os.close(progress)
        self.children.add(pid)
        self._tell({"forked": pid})

    def _become_child(self, connection: int, progress: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.control.close()
            from muniflow.compute.child import child_main

            child_main(socket.socket(fileno=connection), progress, self.spec, self.steps)
            status = 0
        except BaseException as error:  # noqa: BLE001 - a forked copy must not go on as a second fork server
            with suppress(OSError):
                sys.stderr.write(f"compute child: {type(error).__name__}: {error}\n")
                sys.stderr.flush()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self.children.discard(pid)
            self._tell({"exited": pid, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: object) -> None:
        _tell(self.control, message)


def _tell(control: socket.socket, message: object) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        control.sendall(json.dumps(message).encode() + b"\n")


def _read_spec(control: socket.socket) -> ChildSpec:
    line = bytearray()
    while not line.endswith(b"\n"):
        # Byte by byte, so that nothing of what follows (with its descriptors) is taken.
        data = control.recv(1)
        if not data:
            raise SystemExit(0)
        line += data
    return ChildSpec.from_json(bytes(line))


def main(descriptor: int) -> int:
    """Run a fork server over an inherited socket."""
    for number in SIGNALS_OF_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    spec = _read_spec(control)
    try:
        from muniflow.compute.probe import probe
        from muniflow.compute.setup import preload

        steps = preload(spec)
        device = probe(spec)
    except Invalid as invalid:
        _tell(control, {"failed": str(invalid)})
        return 1
    except Exception as error:  # noqa: BLE001 - whatever a step package does wrong, the parent has to say it
        _tell(control, {"failed": f"{type(error).__name__}: {error}"})
        return 1
    # What is alive now stays alive: without this the collector would copy all of these pages in each child.
    gc.collect()
    gc.freeze()
    _tell(control, {"ready": {"operations": list(steps), "device": device}})
    ForkServer(control, spec, steps).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
