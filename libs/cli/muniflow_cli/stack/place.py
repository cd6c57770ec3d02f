"""The folder for the state of a local stack. It is outside every store, so no batch can read or replace it (ADR 18).

`python -m muniflow_cli.stack.place` removes what a stopped stack left there (`make clean`).
"""

import os
import shutil
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from muniflow.errors import Fault, Invalid, MuniflowError, Unavailable
from muniflow.runtime.settings import StoreSettings, read_env, variable
from muniflow.runtime.state_folder import API_KEYS, DATA, SIGNING_KEYS, VERIFY_KEYS, StackSettings, state_folder
from muniflow.store.open import open_store
from muniflow.store.places import Location
from muniflow_cli.stack.state import StackState, read_state

BROKER = "broker"
PROFILE = "profile.json"
"""Written by `muniflow calibrate`."""
OWN = (BROKER, "logs", "monitor", "ledger.db*", API_KEYS, SIGNING_KEYS, VERIFY_KEYS, "stack.json*", "up.log", PROFILE)
"""The names of what is state, as patterns."""


def demo_folder(folder: Path) -> Path:
    """Where the stack of `muniflow demo` keeps its own state, beside this folder."""
    return folder.with_name(f"{folder.name}-demo")


def data_folder(env: Mapping[str, str]) -> Path:
    """Where intermediates and outputs go that no variable gives another place."""
    return Path(read_env(StackSettings, env).state_dir or DATA)


def find_state(env: Mapping[str, str]) -> tuple[Path, StackState | None]:
    """The folder of the state and what is written there; also of a stack that an earlier muniflow started and runs."""
    folder = state_folder(env)
    state = read_state(folder)
    if read_env(StackSettings, env).state_dir is None and (state is None or not state.running):
        earlier = read_state(DATA)
        if earlier is not None and earlier.running:
            return DATA, earlier
    return folder, state


def require_outside(folder: Path, stores: StoreSettings) -> None:
    """Reject a state folder inside a store, and a store inside the state folder.

    Raises:
        Invalid: naming both and the variable to change.
    """
    roots = {name: open_store(getattr(stores, name)).location() for name in ("source_url", "work_url", "output_url")}
    if faults := state_faults(Location("file", folder.resolve().parts[1:]), roots):
        raise Invalid(faults)


def state_faults(state: Location, roots: Mapping[str, Location]) -> tuple[Fault, ...]:
    """What is wrong with a folder of state, given the roots of the stores by their settings."""
    faults = []
    for name, root in roots.items():
        if root.system != state.system:
            continue
        place, folder = "/" + "/".join(root.parts), "/" + "/".join(state.parts)
        if state.parts[: len(root.parts)] == root.parts:
            text = (
                f"{folder}, with passwords and hashes of keys, would lie in the store {place} ({variable(name)}); name "
                f"a folder outside of it, or another store"
            )
            faults.append(Fault(variable("state_dir"), text))
        elif root.parts[: len(state.parts)] == state.parts and _is_own(root.parts[len(state.parts)]):
            faults.append(Fault(variable(name), f"{place} is part of the stack's own state; name another folder"))
    return tuple(faults)


def prepare(folder: Path, env: Mapping[str, str]) -> None:
    """Make the folder, for its owner only; what an earlier muniflow kept in `.muniflow` goes there, if it is not used.

    Raises:
        Unavailable: it cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if read_env(StackSettings, env).state_dir is None and not any(_own(folder)):
            for path in _own(DATA):
                shutil.move(path, folder / path.name)
                if path.name == BROKER:
                    # RabbitMQ has written down the full paths of its queues. No store follows a link.
                    path.symlink_to((folder / path.name).absolute())
    except OSError as error:
        text = f"{error}; name another with {variable('state_dir')}"
        raise Unavailable("the folder of the stack's state", text) from error


def forget(folder: Path) -> None:
    """Remove the state, and nothing else that may be in the folder."""
    for path in _own(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _is_own(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in OWN)


def _own(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _is_own(path.name)] if folder.is_dir() else []


def _main() -> int:
    from muniflow_cli.stack.docker_broker import forget_broker

    folder, state = find_state(os.environ)
    if state is not None and state.running:
        sys.stderr.write("a stack runs here; end it with `muniflow down`\n")
        return 1
    for place in (folder, demo_folder(folder), DATA):
        try:
            forget_broker(place / "broker")
        except MuniflowError as refused:
            sys.stderr.write(f"the broker's volume stays: {refused}\n")
        forget(place)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
