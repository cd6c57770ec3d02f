"""Waiting until a condition holds, for as long as a busy machine may need, and no longer."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from muniflow.runtime.loop import Loop

LIMIT_S = 60.0
"""For anything that takes seconds on a quiet machine."""
EVERY_S = 0.02
ASKING_SHARE = 6
"""At most a sixth of the time goes into asking: a question has its price, here and where it is answered."""
LONGEST_PAUSE_S = 0.5
TICK_S = 0.002

Answer = TypeVar("Answer")


def eventually(
    condition: Callable[[], Answer],
    limit_s: float = LIMIT_S,
    what: str | Callable[[], str] = "a condition",
    *,
    every_s: float = EVERY_S,
) -> Answer:
    """Ask again and again until the answer is true, and return it; seldom where a question takes long.

    For other processes, which tell of themselves in no other way; `run_until` is for what runs on a loop of ours.

    Raises:
        AssertionError: it was not true within `limit_s`; the text names `what` (a function is called then).
    """
    asked_s = time.monotonic()
    end_s = asked_s + limit_s
    while not (answer := condition()):
        now_s = time.monotonic()
        assert now_s < end_s, f"not within {limit_s:.0f} s: {what if isinstance(what, str) else what()}"
        time.sleep(max(every_s, min((ASKING_SHARE - 1) * (now_s - asked_s), LONGEST_PAUSE_S)))
        asked_s = time.monotonic()
    return answer


def seconds_until(condition: Callable[[], object], limit_s: float = LIMIT_S, what: str = "a condition") -> float:
    """How long it takes until `condition` holds."""
    began_s = time.monotonic()
    eventually(condition, limit_s, what)
    return time.monotonic() - began_s


def at_intervals(things: Iterable[Answer], every_s: float) -> Iterator[Answer]:
    """Give the first now and each other one `every_s` after the one before; one that is late is given at once."""
    due_s = time.monotonic()
    for thing in things:
        time.sleep(max(0.0, due_s - time.monotonic()))
        yield thing
        due_s += every_s


def run_until(
    loop: Loop,
    condition: Callable[[], object],
    limit_s: float = LIMIT_S,
    what: str | Callable[[], str] = "a condition",
) -> None:
    """Run `loop` until `condition` holds; nothing of the wait stays behind on the loop, whatever ends it.

    Raises:
        AssertionError: it did not hold within `limit_s`; the text names `what`.
    """
    met = False
    look_again: Any = None

    def look() -> None:
        nonlocal met, look_again
        met = bool(condition())
        if met:
            loop.stop()
        else:
            look_again = loop.call_later(TICK_S, look)

    late = loop.call_later(limit_s, loop.stop)
    look_again = loop.call_later(0, look)
    try:
        loop.start()
    finally:
        loop.remove_timeout(late)
        if not met:
            loop.remove_timeout(look_again)
    assert met, f"not within {limit_s:.0f} s: {what if isinstance(what, str) else what()}"
