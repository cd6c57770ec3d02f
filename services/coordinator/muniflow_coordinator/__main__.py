"""`python -m muniflow_coordinator`: run the coordinator until SIGTERM; `keys …`: make, rotate and drop signing keys."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from muniflow.errors import Fault, Invalid
from muniflow.runtime.exit_codes import OK, exit_code_of
from muniflow.runtime.settings import GrantSettings, read_env, variable


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments say; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code_of(lambda: _keys(arguments) if arguments.command == "keys" else _serve())


def _serve() -> int:
    from muniflow_coordinator.service import serve

    return serve(os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muniflow_coordinator",
        description="Turns batches into tasks, records their results. Without a command it serves. Settings are "
        "MUNIFLOW_… variables (README.md).",
    )
    commands = parser.add_subparsers(dest="command")
    keys = commands.add_parser("keys", help="the keys that tasks are signed with").add_subparsers(
        dest="action", required=True
    )
    drop = keys.add_parser("drop", help="remove a key, once every batch that it signed has ended")
    drop.add_argument("key", help="its id")
    for command in (keys.add_parser("rotate", help="make a key, the first one too; it signs from now on"), drop):
        command.add_argument("--verify", type=Path, help=f"the workers' file ({variable('verify_keys_file')})")
    keys.add_parser("list", help="list ids, the one that signs first")
    for command in keys.choices.values():
        command.add_argument("--signing", type=Path, help=f"the coordinator's ({variable('signing_key_file')})")
    return parser


def _keys(arguments: argparse.Namespace) -> int:
    from muniflow.runtime.key_files import drop_key, keys_in, rotate_keys

    settings = read_env(GrantSettings, os.environ)
    signing = _path(arguments.signing, settings.signing_key_file, "--signing", "signing_key_file")
    if arguments.action == "list":
        for number, key in enumerate(keys_in(signing)):
            sys.stdout.write(f"{key.id}\t{'verifies' if number else 'signs'}\n")
        return OK
    verify = _path(arguments.verify, settings.verify_keys_file, "--verify", "verify_keys_file")
    if arguments.action == "drop":
        drop_key(signing, verify, arguments.key)
    else:
        sys.stdout.write(f"{rotate_keys(signing, verify)}\n")
    return OK


def _path(given: Path | None, setting: str | None, option: str, field: str) -> Path:
    if given is None and setting is None:
        raise Invalid((Fault(option, f"name the file, or set {variable(field)}"),))
    return given or Path(str(setting))


if __name__ == "__main__":
    sys.exit(main())
