"""Programs of the system's administrator, which `sudo` and some shells leave out of the path."""

import os
import subprocess
from collections.abc import Mapping

import pytest


def path_of(env: Mapping[str, str]) -> str:
    """The path, with where such programs are."""
    return os.pathsep.join([env.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def run_tool(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run one with `text` as its input; whoever asks looks at its exit code."""
    env = {**os.environ, "PATH": path_of(os.environ)}
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=env)


def require(reason: str | None, variable: str) -> None:
    """Skip the test where there is a reason why it cannot run; fail it where `variable` is `true`."""
    if reason is not None:
        (pytest.fail if os.environ.get(variable) == "true" else pytest.skip)(reason)
