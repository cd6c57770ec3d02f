"""Google's storage as far as `obstore` uses it: its XML interface, which is that of S3 with a few other words.

A stand-in of our own: moto behind a translator, written from Google's documentation. fake-gcs-server 1.56.1 takes no
uploads by this interface. Nobody is asked for a token.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.moto_server import Application, moto_server

STAND_IN = bool(os.environ.get("MUNIFLOW_GOOGLE_STAND_IN"))
"""Whether its tests run: Google has no request that removes many blobs, so they take a minute."""
Environ = dict[str, Any]
_SIGNED = "AWS4-HMAC-SHA256 Credential=test/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
_ABSENT = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"


def _translated(application: Application) -> Application:
    one = threading.Lock()  # moto looks whether a blob is there, then writes it

    def there(environ: Environ) -> bool:
        found: list[str] = []
        list(application({**environ, "REQUEST_METHOD": "HEAD"}, lambda status, *_: found.append(status)))
        return found[0].startswith("200")

    def translated(environ: Environ, start_response: Callable[..., object]) -> list[bytes]:
        environ["HTTP_AUTHORIZATION"] = _SIGNED
        if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        with one:
            if environ["REQUEST_METHOD"] == "DELETE" and not environ["QUERY_STRING"] and not there(environ):
                start_response("404 Not Found", [("Content-Type", "application/xml")])  # of which S3 says nothing
                return [_ABSENT]
            return list(application(environ, start_response))

    return translated


@contextmanager
def google_storage(bucket: str) -> Iterator[str]:
    """The URL of an empty bucket of letters alone; the variables that reach it are set meanwhile."""
    nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
    with moto_server() as server, pytest.MonkeyPatch.context() as patch:
        server.wrap(_translated)
        account = {"gcs_base_url": server.url, "disable_oauth": True, **nobody}
        patch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        patch.setenv("GOOGLE_ALLOW_HTTP", "true")
        server.make_bucket(bucket)
        yield f"gs://{bucket}"
