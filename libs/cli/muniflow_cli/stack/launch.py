"""One process of a plan: started with its log, and asked whether it is ready."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import is_open, says_ready, speaks_amqp


def launch(plan: ProcessPlan, variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with `variables` as the environment of its stack."""
    with log.open("ab") as output:
        return subprocess.Popen(
            plan.command,
            env=dict(plan.variables) if plan.variables_only else {**variables, **plan.variables},
            cwd=plan.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches only us, and we drain in order
        )


def answers(plan: ProcessPlan, timeout_s: float = 1.0) -> bool:
    """Whether a process that runs is ready; returns within about twice `timeout_s`."""
    match plan.speaks:
        case "http":
            return says_ready(plan.port, timeout_s)
        case "amqp":
            return speaks_amqp(plan.port, timeout_s)
        case "tcp":
            return is_open(plan.port, timeout_s)
