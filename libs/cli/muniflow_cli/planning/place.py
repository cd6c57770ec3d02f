"""The file of a calibration among the state of this folder's stack."""

from collections.abc import Mapping
from pathlib import Path

from muniflow.errors import Unavailable
from muniflow.forecast.profile import Profile
from muniflow.planning.files import read_profile_file
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


def calibrated_here(env: Mapping[str, str]) -> tuple[Profile, Path] | None:
    """The calibration of this folder's stack, and its file; `None` where there is none.

    Raises:
        Invalid: it is damaged.
    """
    path = find_state(env)[0] / PROFILE
    return (read_profile_file(path), path) if path.exists() else None
