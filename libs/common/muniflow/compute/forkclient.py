"""The parent's side of a fork server, on the loop. It starts one, asks for children, and hears of their ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from muniflow.compute.spec import ALLOCATOR_ENV, ONE_THREAD_ENV, ChildSpec
from muniflow.runtime.loop import Loop

_RECEIVE_BYTES = 65536
_STOP_POLL_S = 0.01
_STOP_LIMIT_S = 5.0


@dataclass(frozen=True)
class ForkEvents:
    """Whom to tell."""

    on_ready: Callable[[tuple[str, ...], str], None]
    """The operations that the children will carry, and the device on which they compute, for people."""
    on_failed: Callable[[str], None]
    """It cannot start: a step package cannot be imported, or there is no device. `on_lost` follows."""
    on_forked: Callable[[int], None]
    """The process id of a child, in the order of `fork` calls."""
    on_exited: Callable[[int, int], None]
    """Process id and status: an exit code, or minus a signal."""
    on_lost: Callable[[], None]
    """The fork server is gone, with whatever it had still to say."""


@dataclass
class ForkClient:
    """One fork server."""

    loop: Loop
    spec: ChildSpec
    events: ForkEvents
    python_path: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control: socket.socket | None = field(default=None, init=False)
    _input: bytearray = field(default_factory=bytearray, init=False)

    def start(self) -> None:
        """Start it; what it imports takes its time elsewhere."""
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: a folder that happens to be the current one must not stand in for an installed package.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "muniflow.compute.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=child_env(os.environ, self.python_path),
            )
        self._control = ours
        ours.sendall(self.spec.to_json().encode() + b"\n")
        ours.setblocking(False)
        self.loop.add_handler(ours.fileno(), self._on_readable, self.loop.READ)

    def fork(self, connection: int, progress: int) -> None:
        """Ask for a child that uses these descriptors, which may be closed afterwards."""
        if self._control is not None:
            with suppress(OSError):  # it is gone: `on_lost` says so
                socket.send_fds(self._control, [b"F\n"], [connection, progress])

    def kill(self, pid: int) -> None:
        """Kill a child, if it still lives."""
        if self._control is not None:
            with suppress(OSError):
                self._control.sendall(b"K%d\n" % pid)

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """End it and its children; `on_lost` is not called any more."""
        self._disconnect()
        self._await_end(on_stopped, _STOP_LIMIT_S)

    def _on_readable(self, _descriptor: int, _events: int) -> None:
        control = self._control
        if control is None:
            return
        try:
            data = control.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._input += data
        while self._control is not None and b"\n" in self._input:
            line, _, rest = bytes(self._input).partition(b"\n")
            self._input[:] = rest
            self._tell(json.loads(line))
        if not data and self._control is not None:
            self._disconnect()
            self._await_end(self.events.on_lost, _STOP_LIMIT_S)

    def _tell(self, message: dict[str, object]) -> None:
        match message:
            case {"ready": {"operations": list(operations), "device": str(device)}}:
                self.events.on_ready(tuple(map(str, operations)), device)
            case {"failed": str(reason)}:
                self.events.on_failed(reason)
            case {"forked": int(pid)}:
                self.events.on_forked(pid)
            case {"exited": int(pid), "status": int(status)}:
                self.events.on_exited(pid, status)

    def _disconnect(self) -> None:
        if self._control is not None:
            self.loop.remove_handler(self._control.fileno())
            self._control.close()
            self._control = None

    def _await_end(self, on_ended: Callable[[], None], left_s: float) -> None:
        # It ends by itself when its socket closes; waited for in steps, because the loop must go on.
        if self._process is None or self._process.poll() is not None:
            on_ended()
        elif left_s <= 0:
            self._process.kill()
            self._process.wait()
            on_ended()
        else:
            self.loop.call_later(_STOP_POLL_S, lambda: self._await_end(on_ended, left_s - _STOP_POLL_S))


def child_env(env: Mapping[str, str], python_path: tuple[str, ...]) -> dict[str, str]:
    """The environment of a fork server; what a person has set stands."""
    path = os.pathsep.join([*python_path, *filter(None, [env.get("PYTHONPATH")])])
    return {**ALLOCATOR_ENV, **ONE_THREAD_ENV, **env, **({"PYTHONPATH": path} if path else {})}
