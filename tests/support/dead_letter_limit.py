"""The policy that limits dead-letter queues, on a private node and with a small limit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from pika.exceptions import NackError
from tests.support.inside_broker import evaluate

from muniflow.model.topology import DEAD_LETTER_PATTERN, DEAD_LETTER_POLICY
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel
from muniflow_cli.stack.broker import PrivateBroker

NAME = "tests-dead-letters"
FULL_BEFORE = 1000


@contextmanager
def dead_letter_limit(node: PrivateBroker, messages: int) -> Iterator[None]:
    """As the chart's built-in broker has it, but for this many messages in each queue."""
    limits = json.dumps({**DEAD_LETTER_POLICY, "max-length": messages})
    terms = f'rabbit_json:decode(list_to_binary("{_quoted(limits)}"))'
    pattern = f'list_to_binary("{_quoted(DEAD_LETTER_PATTERN)}")'
    policy = f'<<"/">>, <<"{NAME}">>, {pattern}, {terms}, 0, <<"queues">>, <<"tests">>'
    evaluate(node, f"ok = rabbit_policy:set({policy})")
    try:
        yield
    finally:
        evaluate(node, f'rabbit_policy:delete(<<"/">>, <<"{NAME}">>, <<"tests">>)')


def fill(settings: BrokerSettings, queue: str) -> int:
    """Publish to a queue until it refuses; returns what it holds, which is a little more than its limit."""
    with open_channel(settings) as channel:
        channel.confirm_delivery()
        for held in range(FULL_BEFORE):
            try:
                channel.basic_publish("", queue, b"filled")
            except NackError:
                return held
    raise AssertionError(f"{queue} took {FULL_BEFORE} messages and refused none")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
