# ruff: noqa: INP001, T201, S310 - a part of a script that a pod runs: it prints, and its one URL is the gateway's
"""What `helm test` tries of the gateway: up and closed; with a key, a picture goes in and its output comes out."""

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from muniflow.runtime.secret_files import with_secrets

POLL_S = 2.0
LONGEST_WAIT_S = 60
KINDS = ("image/", "application/zip")
AGAIN = {
    HTTPStatus.ACCEPTED,  # not yet
    HTTPStatus.UNAUTHORIZED,  # the kubelet brings a new key to the gateway within two minutes
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}


def try_gateway(picture: bytes, route: Sequence[Any], deadline_s: float) -> None:
    """Try the gateway at GATEWAY_URL, with the key in GATEWAY_API_KEY where there is one.

    Raises:
        SystemExit: it is not as it should be.
    """
    url, key = os.environ["GATEWAY_URL"], with_secrets(os.environ).get("GATEWAY_API_KEY", "").strip()
    healthy = _until(lambda: _call(url + "/readyz"), (HTTPStatus.OK,), deadline_s)
    if healthy != HTTPStatus.OK:
        raise SystemExit(f"FAILED: the gateway is not ready: {healthy}")
    closed = _call(url + "/v1/batches")[0]
    if closed != HTTPStatus.UNAUTHORIZED:
        raise SystemExit(f"FAILED: without a key the gateway answers {closed}, not 401")
    print("gateway: ready, and closed to who has no key", flush=True)
    if not key:
        print("gateway: no key was given for this test, so nothing was sent through it")
        return
    _send(url, key, _form(picture, route), deadline_s)


def _send(url: str, key: str, form: tuple[bytes, str], deadline_s: float) -> None:
    body, kind = form
    # The same key of repetition each time: one batch, however often it must be asked.
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind, "Idempotency-Key": str(uuid.uuid4())}
    target = f"{url}/v1/process?wait={LONGEST_WAIT_S}"
    last: tuple[int, str, bytes] = (0, "", b"")

    def ask() -> tuple[int, str, bytes]:
        nonlocal last
        last = _call(target, body, headers)
        return last

    status = _until(ask, tuple(set(HTTPStatus) - AGAIN), deadline_s)
    _, kind, answer = last
    if status != HTTPStatus.OK or not kind.startswith(KINDS) or not answer:
        raise SystemExit(f"FAILED: a picture through the gateway: {status} {kind} {answer[:500]!r}")
    print(f"gateway: a picture went in, {kind} of {len(answer)} bytes came back", flush=True)


def _until(ask: Any, wanted: Sequence[int], deadline_s: float) -> int:
    """The first status that is wanted, or the last one before the deadline; 0 is no answer."""
    while True:
        status: int = ask()[0]
        if status in wanted or time.monotonic() > deadline_s:
            return status
        time.sleep(POLL_S)


def _call(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer; (0, what, b"") where there is none."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, headers or {}), timeout=LONGEST_WAIT_S + 30
        ) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Content-Type", ""), error.read()
    except OSError as error:
        return 0, str(error), b""


def _form(picture: bytes, route: Sequence[Any]) -> tuple[bytes, str]:
    """A form with one picture, and its content type."""
    boundary = uuid.uuid4().hex
    fields = (
        ('name="actions"', "application/json", json.dumps({"operations": route}).encode()),
        ('name="files"; filename="helm-test.png"', "image/png", picture),
    )
    parts = [
        f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {kind}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, kind, data in fields
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
