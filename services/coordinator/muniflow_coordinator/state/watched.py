"""A store of state with named places before and after each commit, for tests that kill the process there."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from muniflow.runtime.failpoints import LEDGER_COMMITS, Failpoints, Hit, nothing
from muniflow_coordinator.state.types import Commit, State

Places = dict[str, tuple[Hit, Hit]]


def watched(state: State, failpoints: Failpoints) -> State:
    """The state itself, unless a test armed one of its places."""
    places: Places = {}
    for commit in LEDGER_COMMITS:
        hits = failpoints.at(f"ledger.before_{commit}"), failpoints.at(f"ledger.after_{commit}")
        if hits != (nothing, nothing):
            places[commit] = hits
    return cast("State", _Watched(state, places)) if places else state


class _Watched:
    """Passes everything on."""

    def __init__(self, state: State, places: Places) -> None:
        self._state = state
        self._places = places

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._state, name)
        if name == "commit":
            return lambda changes: self._run(_kind(changes), inner, changes)
        if name in self._places:
            return lambda *given: self._run(name, inner, *given)
        return inner

    def _run(self, name: str, inner: Callable[..., Any], *given: Any) -> Any:
        before, after = self._places.get(name, (nothing, nothing))
        before()
        result = inner(*given)
        after()
        return result


def _kind(changes: Sequence[Commit]) -> str:
    """What a commit is for, as `LEDGER_COMMITS` names it."""
    if any(change.cancelling for change in changes):
        return "mark_cancelling"
    if any(change.state == "finishing" and not change.settled for change in changes):
        return "complete"
    return ""
