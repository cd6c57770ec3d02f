"""`python -m muniflow_coordinator`: run the coordinator until SIGTERM."""

import argparse
import os
import sys
from collections.abc import Sequence

from muniflow.errors import Invalid, MuniflowError

CANNOT_START = 1
BAD_SETTINGS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the coordinator; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="muniflow_coordinator",
        description="Turns batches into tasks, records their results. Settings are MUNIFLOW_… variables (README.md).",
    )
    parser.parse_args(argv)
    from muniflow_coordinator.service import serve

    try:
        return serve(os.environ)
    except Invalid as invalid:
        sys.stderr.write(f"{invalid}\n")
        return BAD_SETTINGS
    except MuniflowError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main())
