"""Publisher confirms, as bookkeeping only: which group of messages is safe, and which is not."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Owner = TypeVar("Owner")

REFUSED = "refused by the broker"
LOST = "connection lost"


@dataclass
class _Group(Generic[Owner]):
    owner: Owner
    open_count: int = 0
    complete: bool = False
    """Whether all of its messages were published; before that, it cannot settle."""
    problem: str | None = None


@dataclass(frozen=True)
class SettledGroup(Generic[Owner]):
    """A group whose every message has been answered."""

    owner: Owner
    problem: str | None
    """The first problem of the group, or `None`: every message is safe."""


class ConfirmTracker(Generic[Owner]):
    """Follows the groups of messages of one channel until the broker has answered each message.

    The broker numbers the messages of a channel 1, 2, 3, … by itself; `next_tag` is the number that the next one gets.
    """

    def __init__(self) -> None:
        self.next_tag = 1
        self._unconfirmed: OrderedDict[int, _Group[Owner]] = OrderedDict()
        self._current: _Group[Owner] | None = None

    def __len__(self) -> int:
        """Messages without an answer."""
        return len(self._unconfirmed)

    def begin(self, owner: Owner) -> None:
        """Start a group; `published` counts for it until `end`."""
        self._current = _Group(owner)

    def published(self) -> None:
        """One more message of the current group was handed to the channel."""
        if self._current is None:
            raise RuntimeError("published() belongs between begin() and end()")
        self._current.open_count += 1
        self._unconfirmed[self.next_tag] = self._current
        self.next_tag += 1

    def end(self) -> list[SettledGroup[Owner]]:
        """The current group has all its messages. Returned is the group itself when it has none."""
        group, self._current = self._current, None
        if group is None:
            raise RuntimeError("end() belongs after begin()")
        group.complete = True
        return [SettledGroup(group.owner, group.problem)] if group.open_count == 0 else []

    def abandon(self) -> None:
        """The current group could not be published whole: its owner gets an exception, and no callback."""
        self._current = None

    def returned(self, tag: int, reason: str) -> None:
        """The broker gave a message back; its confirm follows and would make it look safe."""
        if group := self._unconfirmed.get(tag):
            group.problem = group.problem or reason

    def confirmed(self, tag: int, *, multiple: bool, refused: bool = False) -> list[SettledGroup[Owner]]:
        """The broker answered message `tag`, or with `multiple` every one up to it. Returns what is settled by it."""
        settled = []
        for answered in self._answered(tag, multiple):
            group = self._unconfirmed.pop(answered)
            group.open_count -= 1
            if refused:
                group.problem = group.problem or REFUSED
            if group.complete and group.open_count == 0:
                settled.append(SettledGroup(group.owner, group.problem))
        return settled

    def lost(self) -> list[SettledGroup[Owner]]:
        """The channel is gone: every group that is not settled, each once, in the order published."""
        groups = {id(group): group for group in self._unconfirmed.values() if group.complete}
        self._unconfirmed.clear()
        return [SettledGroup(group.owner, LOST) for group in groups.values()]

    def _answered(self, tag: int, multiple: bool) -> list[int]:
        if not multiple:
            return [tag] if tag in self._unconfirmed else []
        answered = []
        for unconfirmed in self._unconfirmed:
            if unconfirmed > tag:
                break
            answered.append(unconfirmed)
        return answered
