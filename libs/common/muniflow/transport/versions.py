"""RabbitMQ's versions as data: which ones are tested, where the range ends, what differs for muniflow."""

import re
from dataclasses import dataclass
from typing import Literal

Version = tuple[int, int]

OLDEST: Version = (3, 10)
NEWEST: Version = (4, 3)
"""`make test-brokers` runs 3.10, 4.0 and 4.3."""


@dataclass(frozen=True)
class Difference:
    """Something that changes with a version, as an operator sees it."""

    since: Version
    before: str
    """What holds for older versions."""
    after: str
    """What holds from `since` on."""


DIFFERENCES = (
    Difference(
        (3, 12),
        "what a worker holds during an alarm is taken back after RabbitMQ's consumer_timeout, 30 minutes, and counted "
        "as a delivery; `consumer_timeout = 604800000` in rabbitmq.conf makes it a week (the broker of `muniflow up` "
        "has it)",
        "a worker may hold its tasks for a week, through any alarm: its queues are declared so (`x-consumer-timeout`)",
    ),
    Difference(
        (4, 0),
        "messages up to 128 MiB would be taken; muniflow sends none over 16 MiB",
        "messages over 16 MiB are refused; muniflow sends none",
    ),
    Difference(
        (4, 0),
        "a queue has the delivery limit that it is declared with; muniflow declares 20",
        "queues without a delivery limit get 20, and then drop the message; muniflow declares limits and dead letters",
    ),
    Difference(
        (4, 3),
        "a task that a draining worker hands back counts towards the delivery limit",
        "a task that a draining worker hands back does not count; one whose worker dies does",
    ),
)


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a version."""

    level: Literal["ok", "warning", "error"]
    what: str
    to_do: str = ""


def parse(version: str) -> Version | None:
    """`"4.0.5"` is (4, 0); `None` where there are no numbers."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def judge(product: str, version: str) -> Judgement:
    """What a broker of this product and version means for muniflow, and what to do."""
    found = parse(version)
    if product != "RabbitMQ" or found is None:
        return Judgement("warning", f"it is {product} {version}", "muniflow is tested with RabbitMQ only")
    name = f"RabbitMQ {version}"
    if found < OLDEST:
        return Judgement("error", name, f"upgrade it: muniflow needs {_text(OLDEST)} or later")
    if found > NEWEST:
        to_do = f"{_text(NEWEST)} is the newest that is tested: try a batch first, and run `make test-brokers`"
        return Judgement("warning", f"{name} is newer than what muniflow is tested with", to_do)
    if found[0] < NEWEST[0]:
        to_do = "it works; when you upgrade: to 3.13 first, `rabbitmqctl enable_feature_flag all`, then to 4"
        return Judgement("ok", f"{name} (of the {found[0]}.x series, which gets no more free updates)", to_do)
    return Judgement("ok", name)


def differences(version: str) -> tuple[str, ...]:
    """What holds on this version and not on every one."""
    found = parse(version)
    return () if found is None else tuple(each.after if found >= each.since else each.before for each in DIFFERENCES)


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
