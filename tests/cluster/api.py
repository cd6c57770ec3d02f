"""The API server, asked by the library `kubernetes` in plain JSON: thirty pods' worth of status needs no models."""

import http
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.client.rest import RESTResponse

TIMEOUT_S = 30.0
WATCH_S = 20
"""A watch ends by itself after so long, and is asked anew."""
CONNECTIONS = 64
PATCHES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
}

Object = dict[str, Any]


class Refused(Exception):
    """The API server said no; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass
class Api:
    """As the user whose certificate is given."""

    url: str
    authority: Path
    certificate: Path
    key: Path

    def __post_init__(self) -> None:
        self.warnings: list[str] = []
        """Those of the last answer."""
        retries = urllib3.Retry(total=3, connect=3, read=0, backoff_factor=0.2)
        settings = Configuration(
            self.url, ssl_ca_cert=str(self.authority), cert_file=str(self.certificate), key_file=str(self.key),
            connection_pool_maxsize=CONNECTIONS, retries=retries,
        )  # fmt: skip
        self._client = ApiClient(settings)

    def get(self, path: str, **query: str) -> Object:
        return self._ask("GET", path, query)

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a list."""
        return list(self.get(path, **query)["items"])

    def post(self, path: str, body: Mapping[str, Any]) -> Object:
        return self._ask("POST", path, {}, body)

    def put(self, path: str, body: Mapping[str, Any]) -> Object:
        return self._ask("PUT", path, {}, body)

    def patch(self, path: str, body: Mapping[str, Any], kind: str = "merge", **query: str) -> Object:
        return self._ask("PATCH", path, query, body, PATCHES[kind])

    def delete(self, path: str, grace_s: int | None = None) -> None:
        """Delete; what is not there is deleted already."""
        body: Object = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        try:
            self._ask("DELETE", path, {}, body)
        except Refused as refused:
            if refused.status != 404:
                raise

    def healthy(self) -> bool:
        """Whether it serves."""
        try:
            return bool(self._answer("GET", "/readyz", timeout_s=2.0).status == http.HTTPStatus.OK)
        except (urllib3.exceptions.HTTPError, ApiException):
            return False

    def watch(self, path: str, version: str) -> Iterator[Object]:
        """Events after a version, until the watch ends."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
        answer = self._answer("GET", path, query, timeout_s=WATCH_S + TIMEOUT_S).response
        rest = b""
        try:
            for part in answer.stream(65536):
                *lines, rest = (rest + part).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            answer.release_conn()

    def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: Any = None, kind: str = "application/json"
    ) -> Object:
        answer = self._answer(method, path, query, body, kind)
        self.warnings = answer.headers.getlist("Warning")
        text = answer.read()
        if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise Refused(answer.status, text.decode()[:2000])
        found: Object = json.loads(text)
        return found

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        kind: str = "application/json",
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> RESTResponse:
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {} if body is None else {"Content-Type": kind}
        return self._client.call_api(method, url, headers, body, _request_timeout=timeout_s)
