"""An S3 server that asks a policy before each request, as Amazon does: moto, behind a judge of our own.

The user is the access key of the request. Which right a request needs is Amazon's list of actions.
"""

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET

from tests.support.moto_server import moto_server

READ, LIST, WRITE, DELETE = "s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject"
ABORT = "s3:AbortMultipartUpload"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>of the policy</Message></Error>"
_USER = re.compile(r"Credential=([^/]+)/")

Policy = Mapping[str, Any]
Environ = dict[str, Any]


def allows(policy: Policy, action: str, resource: str) -> bool:
    """Whether a policy allows an action; conditions are not looked at."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if action in _listed(statement["Action"])
        and any(_like(pattern, resource) for pattern in _listed(statement["Resource"]))
    }
    return effects == {"Allow"}


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


@dataclass
class GuardedS3:
    """What users asked for: (user, action, bucket)."""

    url: str
    policies: dict[str, Policy] = field(default_factory=dict)
    tells_absent: bool = False
    """Whether who may read is told that a blob is absent, as by the built-in server; Amazon tells who may list."""
    used: set[tuple[str, str, str]] = field(default_factory=set)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """With the resource instead of the bucket."""

    def may(self, user: str, action: str, bucket: str, key: str | None = None) -> bool:
        """Decide, and note it."""
        resource = f"arn:aws:s3:::{bucket}" + ("" if key is None else f"/{key}")
        if not allows(self.policies[user], action, resource):
            self.refused.append((user, action, resource))
            return False
        self.used.add((user, action, bucket))
        return True


def _wanted(environ: Environ) -> list[tuple[str, str, str | None]]:
    """The actions that a request needs: (action, bucket, key)."""
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    path = unquote(str(environ.get("RAW_URI", environ["PATH_INFO"])).partition("?")[0])
    bucket, _, key = path.removeprefix("/").partition("/")
    if not key:
        if "delete" in query:
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            keys = (element.text for element in ET.fromstring(body).iter() if element.tag.endswith("Key"))  # noqa: S314
            return [(DELETE, bucket, key) for key in keys]
        return [(LIST, bucket, None)]
    if method in {"GET", "HEAD"}:
        return [(READ, bucket, key)]
    if method == "DELETE":
        return [(ABORT if "uploadId" in query else DELETE, bucket, key)]
    return [(WRITE, bucket, key)]


def _guard(application: Callable[..., Any], s3: GuardedS3) -> Callable[..., Any]:
    one = threading.Lock()

    def guarded(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        # One at a time: moto looks whether a blob is there, then writes it.
        with one:
            found = _USER.search(environ.get("HTTP_AUTHORIZATION", ""))
            if found is None:
                return list(application(environ, start_response))
            user, wanted = found[1], _wanted(environ)
            if not all(s3.may(user, *each) for each in wanted):
                start_response("403 Forbidden", [("Content-Type", "application/xml")])
                return [DENIED]
            answer: list[Any] = []
            body = list(application(environ, lambda *given: answer.extend(given)))
            if answer[0].startswith("404") and wanted[0][0] == READ and not s3.tells_absent:
                # Without the right to list, one is not even told that there is nothing.
                answer[0] = "404 Not Found" if s3.may(user, LIST, wanted[0][1]) else "403 Forbidden"
            start_response(*answer)
            return body

    return guarded


@contextmanager
def guarded_s3() -> Iterator[GuardedS3]:
    """Run one; requests without a signature are let through."""
    with moto_server() as server:
        server.empty()
        s3 = GuardedS3(server.url)
        server.wrap(partial(_guard, s3=s3))
        yield s3
