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
    BATCHES,
    INFO,
    STAGES,
    BatchList,
    BatchStatus,
    ImageList,
    ImageStatus,
    Info,
    StageList,
    batch_path,
    images_path,
    query_of,
)
from muniflow.runtime.settings import variable

TIMEOUT_S = 10.0
LOCAL = ("127.0.0.1", "localhost", "::1")

Model = TypeVar("Model", bound=BaseModel)


class Coordinator:
    """One coordinator, by its base URL."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Name a coordinator; nothing is asked yet.

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
        # A proxy of the environment is for the outside, never for a process of this machine.
        self._opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))

    def info(self) -> Info:
        """The coordinator itself."""
        return self._get(Info, INFO)

    def batches(self, limit: int = 20) -> BatchList:
        """The newest batches."""
        return self._get(BatchList, BATCHES, limit=limit)

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

    def stages(self) -> StageList:
        """All stages."""
        return self._get(StageList, STAGES)

    def _get(self, model: type[Model], path: str, **query: str | int | None) -> Model:
        given = query_of(**query)
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(given)}" if given else "")
        try:
            with self._opener.open(url, timeout=self._timeout_s) as answer:
                return model.model_validate_json(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                text = _reason(error)
            if error.code == http.HTTPStatus.NOT_FOUND:
                raise NotFound(text) from None
            raise Unavailable(f"the coordinator at {self.url}", f"it answered {error.code}: {text}") from None
        except ValidationError as error:
            raise Unavailable(f"the coordinator at {self.url}", f"its answer is not understood: {error}") from None
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
