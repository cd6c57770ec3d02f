"""The entry point of every step service: `serve` the queue (the default), or run one task as a filter (`once`)."""

import argparse
import os
import sys
from collections.abc import Sequence

from muniflow.errors import Invalid, Unavailable

BAD_INPUT = 2
TRY_AGAIN = 75
ONCE_EXAMPLE = """example:
  echo '{"route": [["resize", "50%%"]], "source": "a.jpg"}' | %(prog)s
"""


def main(default_operations: tuple[str, ...] = (), argv: Sequence[str] | None = None) -> int:
    """Run a step service; returns the exit code.

    Args:
        default_operations: what this service is made for; `MUNIFLOW_OPERATIONS` may name others. Empty: all that are
            installed.
        argv: arguments; those of the process when left out.
    """
    command = _parser(default_operations).parse_args(argv).command
    try:
        if command == "once":
            from muniflow.worker.once import once

            return once(default_operations, os.environ, sys.stdin.buffer, sys.stdout.buffer, sys.stderr)
        from muniflow.worker.serve import serve

        return serve(default_operations, os.environ)
    except Invalid as invalid:
        for fault in invalid.faults:
            sys.stderr.write(f"{fault}\n")
        return BAD_INPUT
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return TRY_AGAIN


def _parser(operations: tuple[str, ...]) -> argparse.ArgumentParser:
    name = "+".join(operations) or "all installed operations"
    parser = argparse.ArgumentParser(description=f"A muniflow step service: {name}.")
    parser.set_defaults(command="serve")
    commands = parser.add_subparsers(metavar="serve|once")
    serve = commands.add_parser("serve", help="take tasks from the queue until SIGTERM (the default)")
    serve.set_defaults(command="serve")
    once = commands.add_parser(
        "once",
        help="run one task: JSON on stdin, JSON on stdout",
        description="Exit codes: 0 done, 1 failed, 2 bad input, 75 try again later.",
        epilog=ONCE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    once.set_defaults(command="once")
    return parser


if __name__ == "__main__":
    sys.exit(main())
