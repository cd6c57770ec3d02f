"""`python -m muniflow_gateway`: serve until SIGTERM; `keys …`: make, list and revoke API keys."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from muniflow.errors import Invalid, MuniflowError
from muniflow.runtime.settings import read_env

OK = 0
CANNOT_START = 1
BAD_SETTINGS = 2
LIMITS = {
    "requests_per_minute": "requests a minute",
    "mebibytes_per_hour": "MiB uploaded an hour",
    "megapixels_per_hour": "megapixels uploaded an hour",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments say; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        match arguments.command:
            case None:
                from muniflow_gateway.service import serve

                return serve(os.environ)
            case "openapi":
                return _openapi()
            case _:
                return _keys(arguments)
    except Invalid as invalid:
        sys.stderr.write(f"{invalid}\n")
        return BAD_SETTINGS
    except MuniflowError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        return CANNOT_START


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muniflow_gateway",
        description="The HTTP door of muniflow. Without a command it serves. Settings are MUNIFLOW_… variables.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("openapi", help="print the OpenAPI document")
    keys = commands.add_parser("keys", help="make, list and revoke API keys").add_subparsers(
        dest="action", required=True
    )
    make = keys.add_parser("make", help="make a key; it is printed once and kept as a hash")
    revoke = keys.add_parser("revoke", help="take a key back; running gateways follow within a second")
    for command in (make, revoke):
        command.add_argument("name", help="whose key it is")
    for field, text in LIMITS.items():
        make.add_argument(
            f"--{field.replace('_', '-')}", type=int, metavar="N", help=f"{text}; else the gateway's limit"
        )
    for command in (make, revoke, keys.add_parser("list", help="list the names")):
        command.add_argument("--file", type=Path, help="the file of keys (MUNIFLOW_API_KEYS_FILE)")
    return parser


def _keys(arguments: argparse.Namespace) -> int:
    from muniflow_gateway.auth.api_keys import make_key, read_keys, revoke_key
    from muniflow_gateway.settings import GatewaySettings

    path = arguments.file or read_env(GatewaySettings, os.environ).keys_path(os.environ)
    match arguments.action:
        case "make":
            secret = make_key(path, arguments.name, {field: getattr(arguments, field) for field in LIMITS})
            sys.stderr.write(f"the key of {arguments.name}, shown this once (its hash is in {path}):\n")
            sys.stdout.write(f"{secret}\n")
        case "revoke":
            revoke_key(path, arguments.name)
        case _:
            for key in read_keys(path):
                made = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
                limits = [f"{getattr(key, field)} {text}" for field, text in LIMITS.items() if getattr(key, field)]
                sys.stdout.write("\t".join([key.name, made, *limits]) + "\n")
    return OK


def _openapi() -> int:
    import asyncio

    from muniflow_gateway.app import make_app
    from muniflow_gateway.service import make_dependencies

    async def document() -> object:
        deps = make_dependencies(os.environ, asyncio.get_running_loop())
        return make_app(deps).openapi()

    sys.stdout.write(json.dumps(asyncio.run(document()), indent=2) + "\n")
    return OK


if __name__ == "__main__":
    sys.exit(main())
