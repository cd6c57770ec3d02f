"""Erlang inside a private RabbitMQ node: `rabbitmqctl` takes a second to start, `erl_call` some milliseconds."""

import os
import shutil
import subprocess

from muniflow_cli.stack.broker import PrivateBroker

LIMIT_S = 30.0
TOO_LITTLE_MEMORY = "{absolute, 1000000}"
"""A limit that raises the memory alarm."""


def evaluate(node: PrivateBroker, *expressions: str, address: str = "") -> str:
    """Evaluate Erlang expressions in a node that runs; returns the value of the last one.

    Args:
        node: it runs.
        expressions: without the last dot.
        address: `HOST:PORT` of its distribution, where its name is not known to the machine.

    Raises:
        AssertionError: one of them failed; the text says how.
    """
    text = ", ".join(expressions) + "."
    identity = node.identity
    who = ("-address", address) if address else ("-sname", identity.name)
    done = subprocess.run(
        [shutil.which("erl_call") or "false", *who, "-c", identity.cookie, "-e"],
        input=f"{text}\n", env={**os.environ, "HOME": str(node.home), "ERL_EPMD_PORT": str(identity.epmd_port)},
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    if done.returncode:  # not installed, or of an Erlang too far from the node's
        return node.ctl("eval", text).strip()
    assert done.stdout.startswith("{ok, "), f"{text} {done.stdout}"
    return done.stdout.strip()[len("{ok, ") : -1]


def set_memory_limit(node: PrivateBroker, limit: str) -> None:
    """The memory above which the node raises its alarm: a share of all, or `{absolute, BYTES}`."""
    evaluate(node, f"vm_memory_monitor:set_vm_memory_high_watermark({limit})")
