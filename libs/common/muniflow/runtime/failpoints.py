"""Named places where a test may kill, stall or fail a process.

`MUNIFLOW_FAILPOINTS="worker.after_publish=kill@3,store.after_rename=stall:0.5"`: at the third publish the whole
process group dies by SIGKILL; each first rename waits half a second. Unset, every place is a function that does
nothing, looked up once at start. `store.sync_file=skip` leaves a sync out, always: for tests of power failures.

| action | what happens at hit number N (`@N`, 1 where it is left out; `@*` at every hit) |
| --- | --- |
| `kill` | SIGKILL to the process group: parent, fork server and compute children die together |
| `crash` | SIGABRT to this process alone, as a broken decoder would |
| `fail` | raises `Unavailable` |
| `stall:S` | waits S seconds |
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from muniflow.errors import Fault, Invalid, Unavailable

VARIABLE = "MUNIFLOW_FAILPOINTS"
LEDGER_COMMITS = (
    "take_over",
    "insert_batch",
    "insert_images",
    "accept_batch",
    "mark_cancelling",
    "cancel_images",
    "reopen_images",
    "restart_images",
    "complete",
    "drop_images",
    "drop_batch",
)
"""Transactions of the ledger beside those that record events and the end of a batch, which have places of their own."""
PLACES = (
    "child.after_load",
    "child.after_compute",
    "child.before_reply",
    "store.after_temp_write",
    "store.after_rename",
    "worker.before_publish",
    "worker.after_publish",
    "worker.after_confirm",
    "worker.after_ack",
    "coordinator.before_accept",
    "coordinator.after_accept",
    "coordinator.before_commit",
    "coordinator.after_commit",
    "coordinator.after_ack",
    "coordinator.after_dispatch",
    "coordinator.after_report",
    "coordinator.after_notice",
    "coordinator.after_end",
    *(f"ledger.{when}_{commit}" for commit in LEDGER_COMMITS for when in ("before", "after")),
    "gateway.before_publish",
    "gateway.after_publish",
)
SYNCS = (
    "store.sync_file",
    "store.sync_name",
    "store.sync_new_folder",
    "store.sync_outputs",
    "store.sync_output_names",
    "store.sync_volume",
    "ledger.sync",
)
"""Calls that make something survive a power failure, which a test may leave out (`muniflow.store.syncs`)."""
SKIP = "skip"
Hit = Callable[[], None]


def nothing() -> None:
    """The hit of a place that no test asked for."""


def _kill() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _fail() -> None:
    raise Unavailable("failpoint", "a test asked for it")


@dataclass
class _Counted:
    action: Hit
    at: int | None
    hits: int = 0

    def __call__(self) -> None:
        self.hits += 1
        if self.at is None or self.hits == self.at:
            self.action()


@dataclass(frozen=True)
class Failpoints:
    """The places that are armed in this process."""

    armed: Mapping[str, Hit] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    """Syncs that are left out."""

    def at(self, place: str) -> Hit:
        """The function to call at `place`; look it up once, at start."""
        assert place in PLACES, place  # noqa: S101 - a place that no test can name is a bug
        return self.armed.get(place, nothing)

    def skips(self, sync: str) -> bool:
        """Whether a test leaves this sync out."""
        assert sync in SYNCS, sync  # noqa: S101 - a sync that no test can name is a bug
        return sync in self.skipped

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Failpoints":
        """Read `MUNIFLOW_FAILPOINTS`.

        Raises:
            Invalid: an entry is not `place=action[:seconds][@hit]` or `sync=skip`.
        """
        entries = [entry.strip() for entry in env.get(VARIABLE, "").split(",") if entry.strip()]
        skipped = frozenset(sync for sync in SYNCS if f"{sync}={SKIP}" in entries)
        rest = [entry for entry in entries if entry.removesuffix(f"={SKIP}") not in skipped]
        return cls(dict(map(_read, rest)), skipped)


def _read(entry: str) -> tuple[str, Hit]:
    place, _, rest = entry.partition("=")
    action, _, at = rest.partition("@")
    name, _, seconds = action.partition(":")
    if place not in PLACES:
        raise Invalid(
            (Fault(VARIABLE, f"unknown place {place!r}; places: {', '.join(PLACES)}; to skip: {', '.join(SYNCS)}"),)
        )
    try:
        hits = None if at == "*" else int(at or "1")
        return place, _Counted(_action(name, float(seconds or "0")), hits)
    except (KeyError, ValueError):
        raise Invalid((Fault(VARIABLE, f"{entry!r} is not place=kill|crash|fail|stall:S[@N|@*]"),)) from None


def _action(name: str, seconds: float) -> Hit:
    actions: dict[str, Hit] = {"kill": _kill, "crash": os.abort, "fail": _fail, "stall": lambda: time.sleep(seconds)}
    return actions[name]
