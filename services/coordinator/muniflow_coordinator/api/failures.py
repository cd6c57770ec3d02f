"""The routes about failures and letters. They run in the threads of the HTTP server, on the database."""

import json
from collections.abc import Mapping
from functools import cache

from muniflow.errors import Rejected
from muniflow.model.api_failures import (
    FAILURE_COUNTS,
    FAILURES,
    LETTERS,
    MAX_REJECTIONS,
    REJECTIONS,
    Failure,
    FailureCount,
    FailureCounts,
    FailureList,
    FaultEntry,
    LetterList,
    Rejection,
    RejectionList,
    StrayLetter,
)
from muniflow.runtime.http import Query, Route
from muniflow_coordinator.api.query import next_after, number_of, page_of
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.state.failure_types import Chosen, FailureRow, LetterRow, Place, RejectionRow
from muniflow_coordinator.state.types import State

MAX_FAILURES = 5000
MAX_PAGE = 500


class FailureAnswers:
    """Lists and counts what has failed."""

    def __init__(self, state: State) -> None:
        """Answer from the database."""
        self._state = state

    def routes(self) -> Mapping[str, Route]:
        """Return all routes by path."""
        return {
            FAILURES: lambda query, _parts: self.failures(query),
            FAILURE_COUNTS: lambda query, _parts: self.counts(query),
            LETTERS: lambda query, _parts: self.letters(query),
            f"{LETTERS}/*": lambda _query, parts: self.letter(parts[0]),
            REJECTIONS: lambda query, _parts: self.rejections(query),
        }

    def failures(self, query: Query) -> FailureList:
        """Return a page of failures."""
        limit = number_of(query, "limit", 100, MAX_FAILURES)
        chosen = self._chosen(query)
        after = _place(query["after"]) if "after" in query else None
        rows = [] if chosen is None else self._state.failures(chosen, after=after, limit=limit)
        source = cache(lambda spec: read_spec(spec).source)  # of few batches, and a spec may be long
        listed = tuple(_failure(row, source(row.spec)) for row in rows)
        return FailureList(failures=listed, next=next_after(rows, limit, lambda row: json.dumps(row.place)))

    def counts(self, query: Query) -> FailureCounts:
        """Return how many images have failed, by batch, reason code and operation."""
        chosen = self._chosen(query)
        groups = [] if chosen is None else self._state.failure_groups(chosen)
        return FailureCounts(groups=tuple(FailureCount(**group._asdict()) for group in groups))

    def letters(self, query: Query) -> LetterList:
        """Return a page of letters, without their bodies."""
        limit = number_of(query, "limit", 100, MAX_PAGE)
        rows = self._state.letters(queue=query.get("queue"), after=number_of(query, "after", 0), limit=limit)
        return LetterList(letters=tuple(map(_letter, rows)), next=next_after(rows, limit, lambda row: str(row.number)))

    def letter(self, number: str) -> StrayLetter | None:
        """Return a letter with its message, or `None`."""
        row = self._state.letter(number_of({"letter": number}, "letter", 0))
        return None if row is None else _letter(row).model_copy(update={"message": _readable(row.body)})

    def rejections(self, query: Query) -> RejectionList:
        """Return a page of rejected batches with all their faults, newest first."""
        limit, after = page_of(query, MAX_REJECTIONS)
        rows = self._state.rejections(
            batch=query.get("batch"),
            municipality=query.get("municipality"),
            owner=query.get("owner"),
            after=after,
            limit=limit,
        )
        return RejectionList(
            rejections=tuple(map(_rejection, rows)), next=next_after(rows, limit, lambda row: str(row.number))
        )

    def _chosen(self, query: Query) -> Chosen | None:
        """Return which failures are asked for; `None` if their batch is not known."""
        number, owner = None, query.get("owner")
        if (batch := query.get("batch")) is not None:
            row = self._state.find(batch)
            if row is None or owner not in {None, row.owner}:
                return None
            number = row.number
        image = number_of(query, "image", 0) if "image" in query else None
        return Chosen(number, query.get("operation"), query.get("reason_code"), image, owner)


def _failure(row: FailureRow, source: str) -> Failure:
    return Failure(
        batch_id=row.batch_id,
        image=row.place.image,
        source=f"{source}{row.stem}{row.suffix}",
        operation=row.place.operation,
        reason_code=row.place.reason_code,
        reasons=row.reasons,
        failed_at=row.failed_at,
    )


def _letter(row: LetterRow) -> StrayLetter:
    return StrayLetter(
        number=row.number, queue=row.queue, batch_id=row.batch, reason=row.reason, at=row.at, bytes=len(row.body)
    )


def _rejection(row: RejectionRow) -> Rejection:
    faults = tuple(
        FaultEntry(place=fault.place, problem=fault.problem, reason_code=fault.reason_code) for fault in row.faults
    )
    return Rejection(
        batch_id=row.batch, owner=row.owner, name=row.name, municipality=row.municipality, at=row.at, faults=faults
    )


def _place(text: str) -> Place:
    try:
        place = Place(*json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise Rejected("after: give what an answer has as `next`") from None
    if [type(each) for each in place] != [int, str, str, int] or not all(abs(n) < 2**53 for n in (place[0], place[3])):
        raise Rejected("after: give what an answer has as `next`")
    return place


def _readable(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
