"""`python -m muniflow_gateway`: serve until SIGTERM; `keys …`: make, list and revoke API keys."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from muniflow.errors import Fault, Invalid
from muniflow.model.deadline import EXAMPLE, read_time
from muniflow.model.owners import DEFAULT_OWNER, SCOPES, USUAL_SCOPES
from muniflow.runtime.exit_codes import OK, exit_code_of
from muniflow.runtime.settings import read_env

if TYPE_CHECKING:
    from muniflow_gateway.auth.api_keys import ApiKey

LIMITS = {
    "requests_per_minute": "requests a minute",
    "mebibytes_per_hour": "MiB uploaded an hour",
    "megapixels_per_hour": "megapixels in forms, and made of them, an hour (deprecated: give its owner a budget)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments say; returns the exit code."""
    arguments = _parser().parse_args(argv)
    commands = {None: _serve, "openapi": _openapi, "keys": lambda: _keys(arguments)}
    return exit_code_of(commands[arguments.command])


def _serve() -> int:
    from muniflow_gateway.service import serve

    return serve(os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muniflow_gateway",
        description="HTTP API and web UI of muniflow. Without a command it serves. Settings are MUNIFLOW_… variables.",
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
    make.add_argument("--owner", help=f"whose batches it sends and sees; else `{DEFAULT_OWNER}`")
    usual = ", ".join(USUAL_SCOPES)
    make.add_argument("--scope", action="append", default=[], choices=SCOPES, help=f"again for each; else {usual}")
    make.add_argument("--until", metavar="TIME", help=f"when it ends, such as {EXAMPLE}")
    for command in (make, revoke, keys.add_parser("list", help="list the names")):
        command.add_argument("--file", type=Path, help="the file of keys (MUNIFLOW_API_KEYS_FILE)")
    return parser


def _keys(arguments: argparse.Namespace) -> int:
    from muniflow_gateway.auth.api_keys import make_key, read_keys, revoke_key
    from muniflow_gateway.settings import GatewaySettings

    path = arguments.file or read_env(GatewaySettings, os.environ).keys_path(os.environ)
    match arguments.action:
        case "make":
            secret = make_key(path, arguments.name, _given(arguments))
            sys.stderr.write(f"the key of {arguments.name}, shown this once (its hash is in {path}):\n")
            sys.stdout.write(f"{secret}\n")
        case "revoke":
            revoke_key(path, arguments.name)
        case _:
            for key in read_keys(path):
                made = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
                limits = [f"{getattr(key, field)} {text}" for field, text in LIMITS.items() if getattr(key, field)]
                sys.stdout.write("\t".join([key.name, made, *_rights(key), *limits]) + "\n")
    return OK


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    """What was said of a new key."""
    given = {field: getattr(arguments, field) for field in ("owner", *LIMITS)}
    given["scopes"] = tuple(arguments.scope) or None
    try:
        given["expires_at"] = None if arguments.until is None else read_time(arguments.until)
    except ValueError as error:
        raise Invalid((Fault("--until", str(error)),)) from None
    return {field: value for field, value in given.items() if value is not None}


def _rights(key: "ApiKey") -> list[str]:
    """The rights of a key that are not the usual ones, for a person."""
    texts = [f"owner {key.owner}"] if key.owner != DEFAULT_OWNER else []
    if key.scopes != USUAL_SCOPES:
        texts.append(f"scopes {' '.join(key.scopes)}")
    if key.expires_at is not None:
        texts.append(time.strftime("until %Y-%m-%d %H:%M UTC", time.gmtime(key.expires_at)))
    return texts


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
