"""Files that an option or a setting names."""

from pathlib import Path

from muniflow.errors import Fault, Invalid
from muniflow.forecast.profile import Profile, read_profile


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Invalid: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid((Fault(str(path), error.strerror or str(error)),)) from None


def read_profile_file(path: Path) -> Profile:
    """Read what `muniflow calibrate` wrote, or what a coordinator answers at `/v1/profile`.

    Raises:
        Invalid: with every fault by its place, below the name of the file.
    """
    try:
        return read_profile(read_file(path))
    except Invalid as invalid:
        raise below(str(path), invalid) from None


def below(place: str, invalid: Invalid) -> Invalid:
    """The same faults, with their places below another one."""
    return Invalid(
        tuple(Fault(f"{place}: {fault.place}" if fault.place else place, fault.problem) for fault in invalid.faults)
    )
