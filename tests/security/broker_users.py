"""Users of the broker of a stack, as an operator makes them for owners."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tests.support.inside_broker import evaluate

from muniflow.model.topology import NOTIFY_EXCHANGE
from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Stack

EVERYTHING = """<<".*">>, <<".*">>, <<".*">>"""


@contextmanager
def broker_user(stack: "Stack", name: str, hears: str = "") -> Iterator[BrokerSettings]:
    """The broker for a user who is made for this time.

    Args:
        stack: whose broker.
        name: of the user.
        hears: pattern of the notices that it may bind to; empty: all.
    """
    node, known = PrivateBroker(stack.state_dir / "broker"), urlsplit(stack.state.amqp_url)
    vhost, password = unquote(known.path[1:]), secrets.token_hex(8)
    orders = [
        f'add_user(<<"{name}">>, <<"{password}">>, <<"tests">>)',
        f'set_permissions(<<"{name}">>, <<"{vhost}">>, {EVERYTHING}, <<"tests">>)',
    ]
    if hears:
        where = f'<<"{name}">>, <<"{vhost}">>, <<"{NOTIFY_EXCHANGE}">>'
        orders.append(f'set_topic_permissions({where}, <<"^$">>, <<"{hears}">>, <<"tests">>)')
    evaluate(node, *(f"rabbit_auth_backend_internal:{order}" for order in orders))
    try:
        yield BrokerSettings(amqp_url=f"amqp://{name}:{password}@{known.hostname}:{known.port}{known.path}")
    finally:
        evaluate(node, f'rabbit_auth_backend_internal:delete_user(<<"{name}">>, <<"tests">>)')
