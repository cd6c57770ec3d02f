"""A compute child: takes a group, runs it task by task, replies once. It holds the limits that protect its parent."""

import os
import resource
import signal
import socket
import time
from contextlib import suppress
from math import ceil
from pathlib import Path

from muniflow.compute.cell import Cell
from muniflow.compute.frames import Decoder, frame
from muniflow.compute.groups import encode_result, result_of
from muniflow.compute.outgoing import Result
from muniflow.compute.process import Context, process
from muniflow.compute.setup import open_context
from muniflow.compute.spec import ChildSpec
from muniflow.compute.step import Steps
from muniflow.failpoints import Failpoints
from muniflow.messages import Task

OOM_SCORE = 800
"""Short of memory, the kernel ends this process and not the one that holds the connection."""
_RECEIVE_BYTES = 256 * 1024


def child_main(connection: socket.socket, cell_descriptor: int, spec: ChildSpec, steps: Steps) -> None:
    """Serve groups until the parent closes the connection. Called in a fresh fork."""
    connection.setblocking(True)
    cell = Cell(cell_descriptor)
    os.close(cell_descriptor)
    limit_self(spec)
    context = open_context(spec, steps, os.environ)
    before_reply = Failpoints.from_env(os.environ).at("child.before_reply")
    decoder = Decoder()
    while data := connection.recv(_RECEIVE_BYTES):
        for bodies in decoder.feed(data):
            parts = run_group(bodies, context, cell, spec.task_timeout_s)
            before_reply()
            with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone; the next recv says so
                connection.sendall(frame(parts))


def run_group(bodies: list[bytes], context: Context, cell: Cell, task_timeout_s: float) -> list[bytes]:
    """Run the tasks of one group; returns the parts of the reply, ready to publish."""
    results: list[Result] = []
    seconds: list[float] = []
    for index, body in enumerate(bodies):
        cell.begin(index)
        raise_cpu_limit(task_timeout_s)
        started_s = time.perf_counter()
        task = Task.from_bytes(body)
        results.append((task, process(task, context)))
        seconds.append(time.perf_counter() - started_s)
    cell.idle()
    return encode_result(result_of(results, seconds, time.time()))


def limit_self(spec: ChildSpec) -> None:
    """Memory, and who dies first when the machine has none left."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    if spec.memory_limit_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = spec.memory_limit_bytes if hard == resource.RLIM_INFINITY else min(spec.memory_limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def raise_cpu_limit(task_timeout_s: float) -> None:
    """Allow the next task its CPU time: the limit counts from the start of the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = ceil(time.process_time() + task_timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
