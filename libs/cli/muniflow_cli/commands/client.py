"""The coordinator's read-only HTTP interface, read with the models of `muniflow.model.api`."""

import http
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from muniflow.errors import Fault, Invalid, NotFound, Unavailable
from muniflow.model.api import (
    AUDIT_TRAIL,
    BATCHES,
    FLEET,
    FORECASTS,
    INFO,
    PROFILE,
    STAGES,
    WITH_OUTPUTS,
    AuditList,
    BatchList,
    BatchStatus,
    ForecastList,
    ImageList,
    ImageStatus,
    Info,
    StageList,
    batch_path,
    images_path,
    query_of,
)
from muniflow.model.api_failures import (
    FAILURE_COUNTS,
    FAILURES,
    LETTERS,
    MAX_REJECTIONS,
    REJECTIONS,
    Failure,
    FailureCounts,
    FailureList,
    LetterList,
    Rejection,
    RejectionList,
    StrayLetter,
)
from muniflow.model.api_webhooks import WEBHOOKS, UndeliveredWebhooks
from muniflow.runtime.settings import variable

TIMEOUT_S = 10.0
PAGE = 500
"""Entries that are asked for at once."""
LOCAL = ("127.0.0.1", "localhost", "::1")

Model = TypeVar("Model", bound=BaseModel)


class CoordinatorApi:
    """One coordinator, by its base URL."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Set the address; no request is sent yet.

        Raises:
            Invalid: this is no address.
        """
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Invalid((Fault(variable("coordinator_url"), f"write http://host:port, not {url!r}"),))
        local = parts.hostname in LOCAL
        # A proxy from the environment is not for a process of this machine.
        self._opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))

    def info(self) -> Info:
        """The coordinator itself."""
        return self._get(Info, INFO)

    def batches(self, limit: int = 20) -> BatchList:
        """The newest batches."""
        return self._get(BatchList, BATCHES, limit=limit)

    def audit(self, *, owner: str | None, batch: str | None, after: str | None, limit: int) -> AuditList:
        """A page of the audit trail, newest first."""
        return self._get(AuditList, AUDIT_TRAIL, owner=owner, batch=batch, after=after, limit=limit)

    def webhooks(self, *, owner: str | None, after: str | None, limit: int) -> UndeliveredWebhooks:
        """A page of the webhooks that were not delivered, newest first."""
        return self._get(UndeliveredWebhooks, WEBHOOKS, owner=owner, after=after, limit=limit)

    def batch(self, batch: str) -> BatchStatus:
        """One batch.

        Raises:
            NotFound: the coordinator does not know it.
        """
        try:
            return self._get(BatchStatus, batch_path(batch))
        except NotFound:
            raise NotFound(f"the coordinator knows no batch {batch!r}; see `muniflow status`") from None

    def images(self, batch: str, state: str | None = None) -> Iterator[ImageStatus]:
        """The images of a batch, page by page."""
        after: int | None = None
        while True:
            page = self._get(ImageList, images_path(batch), state=state, after=after)
            yield from page.images
            if page.next is None:
                return
            after = page.next

    def image(self, batch: str, number: int) -> ImageStatus:
        """One image of a batch.

        Raises:
            NotFound: there is none with this number.
        """
        for image in self._get(ImageList, images_path(batch), after=number - 1, limit=1).images:
            if image.image == number:
                return image
        raise NotFound(f"batch {batch!r} has no image {number}")

    def rejections(self, limit: int = 20, batch: str | None = None) -> tuple[Rejection, ...]:
        """The newest rejected batches; none from a coordinator of an earlier build, which keeps none."""
        try:
            return self._get(RejectionList, REJECTIONS, limit=min(limit, MAX_REJECTIONS), batch=batch).rejections
        except NotFound:
            return ()

    def failures(self, limit: int, **query: str | int | None) -> Iterator[Failure]:
        """Failed images, at most `limit`, page by page; `query` as in `muniflow.model.api`."""
        after: str | None = None
        while limit > 0:
            page = self._get(FailureList, FAILURES, after=after, limit=min(limit, PAGE), **query)
            yield from page.failures
            limit -= len(page.failures)
            if page.next is None:
                return
            after = page.next

    def failure_counts(self, **query: str | int | None) -> FailureCounts:
        """How many images have failed, by batch, reason code and operation."""
        return self._get(FailureCounts, FAILURE_COUNTS, **query)

    def letters(self, limit: int | None = None, queue: str | None = None) -> Iterator[StrayLetter]:
        """Dead letters that are no task, without their messages; at most `limit`, page by page."""
        after: str | None = None
        while limit is None or limit > 0:
            wanted = PAGE if limit is None else min(limit, PAGE)
            page = self._get(LetterList, LETTERS, after=after, limit=wanted, queue=queue)
            yield from page.letters
            limit = None if limit is None else limit - len(page.letters)
            if page.next is None:
                return
            after = page.next

    def letter(self, number: int) -> StrayLetter:
        """A letter with its message.

        Raises:
            NotFound: there is none with this number.
        """
        try:
            return self._get(StrayLetter, f"{LETTERS}/{number}")
        except NotFound:
            raise NotFound(f"the coordinator keeps no letter {number}; see `muniflow dead list`") from None

    def stages(self) -> StageList:
        """All stages."""
        return self._get(StageList, STAGES)

    def forecasts(self) -> ForecastList:
        """The last forecasts with their grades; none from a coordinator that makes none."""
        try:
            return self._get(ForecastList, FORECASTS)
        except NotFound:
            return ForecastList(forecasts=())

    def profile(self) -> bytes | None:
        """The service times that it learned, for `read_profile`; `None` from one that tells none."""
        try:
            return self._read(PROFILE, **WITH_OUTPUTS)
        except NotFound:
            return None

    def fleet(self) -> bytes:
        """What a batch that may be sent would meet, for `muniflow.planning.fleet.read_fleet`.

        Raises:
            Unavailable: it is not known now, or the coordinator is of an earlier build, which tells none.
        """
        try:
            return self._read(FLEET)
        except NotFound:
            raise Unavailable(f"the coordinator at {self.url}", "it is of an earlier build and plans nothing") from None

    def _get(self, model: type[Model], path: str, **query: str | int | None) -> Model:
        try:
            return model.model_validate_json(self._read(path, **query))
        except ValidationError as error:
            raise Unavailable(f"the coordinator at {self.url}", f"its answer is not understood: {error}") from None

    def _read(self, path: str, **query: str | int | None) -> bytes:
        given = query_of(**query)
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(given)}" if given else "")
        try:
            with self._opener.open(url, timeout=self._timeout_s) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            with error:
                text = _reason(error)
            if error.code == http.HTTPStatus.NOT_FOUND:
                raise NotFound(text) from None
            raise Unavailable(f"the coordinator at {self.url}", f"it answered {error.code}: {text}") from None
        except (OSError, http.client.HTTPException) as error:  # the latter: it died in the middle of its answer
            reason = getattr(error, "reason", error)
            raise Unavailable(f"the coordinator at {self.url}", str(reason)) from None


def _reason(error: urllib.error.HTTPError) -> str:
    body = error.read(4096).decode(errors="replace")
    try:
        document = json.loads(body)
        return str(document["error"])
    except (ValueError, KeyError, TypeError):
        return body.strip() or str(error.reason)
