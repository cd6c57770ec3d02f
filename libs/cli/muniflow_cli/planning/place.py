"""The file of a calibration among the state of this folder's stack."""

from collections.abc import Mapping
from pathlib import Path

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.forecast.profile import Profile, read_profile
from muniflow_cli.stack.place import PROFILE, find_state, prepare


def write_profile(profile: Profile, out: Path | None, env: Mapping[str, str]) -> Path:
    """Write a profile to `out`, or among the state; returns the file.

    Raises:
        Unavailable: it cannot be written.
    """
    if out is None:
        folder, state = find_state(env)
        if state is None or not state.running:
            prepare(folder, env)
        out = folder / PROFILE
    try:
        out.write_text(profile.to_json() + "\n")
    except OSError as error:
        raise Unavailable("the file of the profile", str(error)) from error
    return out


def read_profile_file(path: Path) -> Profile:
    """Read a profile.

    Raises:
        Invalid: with every fault by its place, below the name of the file.
    """
    try:
        return read_profile(read_file(path))
    except Invalid as invalid:
        raise below(str(path), invalid) from None


def calibrated_here(env: Mapping[str, str]) -> tuple[Profile, Path] | None:
    """The calibration of this folder's stack, and its file; `None` where there is none.

    Raises:
        Invalid: it is damaged.
    """
    path = find_state(env)[0] / PROFILE
    return (read_profile_file(path), path) if path.exists() else None


def read_file(path: Path) -> bytes:
    """A file that an option names.

    Raises:
        Invalid: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid((Fault(str(path), error.strerror or str(error)),)) from None


def below(place: str, invalid: Invalid) -> Invalid:
    """The same faults, with their places below another one."""
    return Invalid(
        tuple(Fault(f"{place}: {fault.place}" if fault.place else place, fault.problem) for fault in invalid.faults)
    )
