"""Errors as RFC 9457 problem details: one shape for every answer that is not a success."""

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from fastapi.responses import Response
from pydantic import BaseModel, Field

from muniflow.errors import Fault, Invalid, MuniflowError, NotFound, Rejected, Unavailable

CONTENT_TYPE = "application/problem+json"
RETRY_S = 5
"""What a client is told to wait where nothing better is known."""
REASONS = frozenset(
    {
        "key", "origin", "scope", "quota_requests", "quota_bytes", "quota_pixels", "budget", "size", "invalid",
        "conflict", "unknown", "timeout", "gone", "busy", "backlog", "broker", "store", "coordinator", "bug",
    }
)  # fmt: skip
"""Why requests are not served, for metrics and clients: every value there is. The page has a text for each."""
_BY_STATUS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "key",
    HTTPStatus.FORBIDDEN: "origin",
    HTTPStatus.NOT_FOUND: "unknown",
    HTTPStatus.METHOD_NOT_ALLOWED: "unknown",
    HTTPStatus.REQUEST_TIMEOUT: "timeout",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "size",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "size",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
}
_BY_PART: Mapping[str, str] = {"the broker": "broker", "the coordinator": "coordinator"}


class FaultBody(BaseModel):
    """One thing that is wrong in a request."""

    place: str = Field(description="Where, in your words.", examples=["operations[1].width"])
    problem: str = Field(description="What is wrong and what is allowed.", examples=["write 1 to 65535"])
    reason_code: str | None = Field(None, description="Where it is no mistake but too much: why, for programs.")


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field("about:blank", description="Always `about:blank`: the status says the kind.")
    title: str = Field(description="The status in words.", examples=["Unprocessable Entity"])
    status: int = Field(description="The HTTP status.", examples=[422])
    reason: str = Field(description="Why, for programs: stable, where texts may change.", examples=["invalid"])
    detail: str = Field("", description="What happened, for a person.", examples=["the request has 1 fault"])
    faults: list[FaultBody] = Field(default_factory=list, description="Every fault by its place.")


class Problem(Exception):
    """A request that is not served, with all that its answer says."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        faults: Iterable[Fault] = (),
        *,
        reason: str | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer `status`; `retry_after_s` is rounded up to whole seconds.

        `reason` is one of `REASONS`; left out, the one that the status says.
        """
        super().__init__(detail)
        self.status = status
        otherwise = "bug" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid"
        self.reason = reason or _BY_STATUS.get(status, otherwise)
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))

    @property
    def body(self) -> ProblemBody:
        """The answer's body."""
        return ProblemBody(
            title=self.status.phrase,
            status=self.status,
            reason=self.reason,
            detail=_printable(self.detail),
            faults=[_body_of(fault) for fault in self.faults],
        )

    def response(self) -> Response:
        """The answer."""
        return Response(
            self.body.model_dump_json(exclude_none=True),
            status_code=self.status,
            headers=self.headers,
            media_type=CONTENT_TYPE,
        )


def problem_of(error: MuniflowError) -> Problem:
    """What an error of the library means over HTTP."""
    match error:
        case Invalid():
            return invalid(error.faults)
        case NotFound():
            return Problem(HTTPStatus.NOT_FOUND, str(error))
        case Rejected():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        case Unavailable():
            reason = _BY_PART.get(error.what, "store")
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), reason=reason, retry_after_s=RETRY_S)
        case _:
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more")


def invalid(faults: Iterable[Fault]) -> Problem:
    """A document or a form that was understood and is wrong."""
    found = tuple(faults)
    detail = "the request has 1 fault" if len(found) == 1 else f"the request has {len(found)} faults"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, found)


def too_large(detail: str, place: str = "") -> Problem:
    """Beyond a cap of size."""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, [Fault(place, detail)] if place else ())


def _body_of(fault: Fault) -> FaultBody:
    return FaultBody(place=_printable(fault.place), problem=_printable(fault.problem), reason_code=fault.reason_code)


def _printable(text: str) -> str:
    """Text that can be sent: JSON may hold half a character, UTF-8 may not."""
    return text.encode(errors="backslashreplace").decode()
