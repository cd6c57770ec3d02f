"""Where the stack of one machine keeps its state: for `muniflow up`, and a service started by hand (ADR 18)."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from muniflow.errors import Fault, Invalid
from muniflow.runtime.settings import Settings, read_env, variable

DATA = Path(".muniflow")
"""Holds intermediates and outputs below the current folder; with an earlier muniflow, the state as well."""
API_KEYS = "api-keys"
SIGNING_KEYS, VERIFY_KEYS = "signing-keys.pem", "verify-keys.pem"
"""What the stack's coordinator signs tasks with, and its workers verify them with."""


class StackSettings(Settings):
    """Where the local stack keeps what it needs."""

    state_dir: str | None = None
    """Holds `stack.json`, the logs, the broker's data, the ledger and the API keys."""


def state_folder(env: Mapping[str, str], here: Path = Path()) -> Path:
    """The folder of `MUNIFLOW_STATE_DIR`, else one for the project folder `here` among the user's state (XDG)."""
    given = read_env(StackSettings, env).state_dir
    if given is not None:
        return Path(given)
    named = Path(env.get("XDG_STATE_HOME", ""))  # by its specification, a relative one does not count
    base = named if named.is_absolute() else Path(env.get("HOME") or Path.home()) / ".local/state"
    project = here.resolve()
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:12]
    return base / "muniflow" / f"{project.name or 'root'}-{digest}"


def keys_file(env: Mapping[str, str]) -> Path:
    """The API keys of the stack, where no variable names another file.

    Raises:
        Invalid: those of an earlier muniflow are not there yet; without them a gateway would be open.
    """
    path = state_folder(env) / API_KEYS
    if (DATA / API_KEYS).exists() and not path.exists():
        text = (
            f"the keys of an earlier muniflow are in {DATA / API_KEYS}: move that file to {path}, or name another file"
        )
        raise Invalid((Fault(variable("api_keys_file"), text),))
    return path
