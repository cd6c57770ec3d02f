"""How the coordinator and the gateway end."""

import sys
from collections.abc import Callable

from muniflow.errors import Invalid, MuniflowError

OK = 0
CANNOT_START = 1
BAD_SETTINGS = 2


def exit_code_of(run: Callable[[], int]) -> int:
    """Return what `run` returns; say an error of ours, for a person, and return its code."""
    try:
        return run()
    except Invalid as invalid:
        sys.stderr.write(f"{invalid}\n")
        return BAD_SETTINGS
    except MuniflowError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        return CANNOT_START
