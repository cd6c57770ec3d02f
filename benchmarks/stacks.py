"""Folded stacks (`a;b;c 12`), as py-spy writes them: where a process spent its samples."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

WAITING = (
    "Condition.wait ",
    "_worker (concurrent",
    "PollPoller.poll ",
    "_PollLikeSelector.select ",
    "SocketIO.readinto ",
    "child_main (muniflow",
    "sync_files (muniflow",
)
"""Innermost functions of a thread that has nothing to do: it waits for work, or for the disk."""


Stacks = list[tuple[list[str], int]]
"""Stacks, outermost function first, with their samples."""


@dataclass(frozen=True)
class Share:
    """A function and its part of all samples, 0 to 1."""

    function: str
    part: float


def parse(lines: Iterable[str]) -> Stacks:
    """The stacks, outermost function first, with their samples."""
    found = []
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if stack and count.isdigit():
            found.append((stack.split(";"), int(count)))
    return found


def working(stacks: Iterable[tuple[list[str], int]]) -> Stacks:
    """Without the samples of threads that wait: a sampler cannot always tell a sleeping thread from a busy one."""
    return [(stack, samples) for stack, samples in stacks if not stack[-1].startswith(WAITING)]


def top_self(stacks: Iterable[tuple[list[str], int]], count: int) -> list[Share]:
    """Functions by the samples in which they were the innermost."""
    return _top(Counter(), ((stack[-1:], samples) for stack, samples in stacks), count)


def top_total(stacks: Iterable[tuple[list[str], int]], count: int) -> list[Share]:
    """Functions by the samples in which they were anywhere; recursion counts once."""
    return _top(Counter(), ((sorted(set(stack)), samples) for stack, samples in stacks), count)


def _top(counter: Counter[str], parts: Iterable[tuple[list[str], int]], count: int) -> list[Share]:
    total = 0
    for functions, samples in parts:
        total += samples
        for function in functions:
            counter[function] += samples
    return [Share(function, samples / total) for function, samples in counter.most_common(count)] if total else []
