"""The API server, asked in plain JSON: thirty pods' worth of status needs no models."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

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
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS, ca_certs=str(self.authority), cert_file=str(self.certificate),
            key_file=str(self.key), retries=urllib3.Retry(total=3, connect=3, read=0, backoff_factor=0.2),
        )  # fmt: skip

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
            answer = self._pool.request("GET", f"{self.url}/readyz", timeout=2.0, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    def watch(self, path: str, version: str) -> Iterator[Object]:
        """Events after a version, until the watch ends."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
        answer = self._pool.request(
            "GET", f"{self.url}{path}", fields=query, preload_content=False, timeout=WATCH_S + TIMEOUT_S
        )
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
        url = f"{self.url}{path}"
        if query:
            url += "?" + "&".join(f"{name}={value}" for name, value in query.items())
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind} if content else {}
        answer = self._pool.request(method, url, body=content, headers=headers, timeout=TIMEOUT_S)
        self.warnings = answer.headers.getlist("Warning")
        if answer.status >= 300:
            raise Refused(answer.status, answer.data.decode()[:2000])
        found: Object = json.loads(answer.data)
        return found
