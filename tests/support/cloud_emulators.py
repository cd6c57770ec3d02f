"""Google Cloud Storage and Azure's blob storage as emulators, where they are installed: they know no policies.

`go install github.com/fsouza/fake-gcs-server@latest`, `npm install azurite`; both free software. What is not there is
left out, so that no run is full of skips.
"""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from tests.support import web
from tests.support.waiting import eventually

from muniflow_cli.stack.ports import free_ports

PROGRAMS = {
    "gcs": os.environ.get("MUNIFLOW_FAKE_GCS") or shutil.which("fake-gcs-server"),
    "azure": os.environ.get("MUNIFLOW_AZURITE") or shutil.which("azurite-blob"),
}
CLOUDS = tuple(name for name, program in PROGRAMS.items() if program)
"""Those that can be started here."""
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, the same everywhere."""
AZURE_VERSION = "2021-08-06"


@contextmanager
def cloud(name: str, bucket: str, folder: Path) -> Iterator[str]:
    """The URL of an empty bucket; the variables that reach it are set meanwhile."""
    (port,) = free_ports(1)
    start = {"gcs": _gcs, "azure": _azure}[name]
    arguments, variables, create = start(port, bucket, folder)
    with (
        pytest.MonkeyPatch.context() as patch,
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen([str(PROGRAMS[name]), *arguments], stdout=log, stderr=log) as process,
    ):
        try:
            for variable, value in variables.items():
                patch.setenv(variable, value)
            eventually(lambda: _created(create), what=(folder / f"{name}.log").read_text)
            yield f"{'gs' if name == 'gcs' else 'az'}://{bucket}"
        finally:
            process.kill()


Request = tuple[str, str, Mapping[str, str], bytes]
"""Method, URL, headers and body."""


def _created(create: Request) -> bool:
    method, url, headers, body = create
    try:
        answer = web.request(method, url, headers=dict(headers), content=body)
    except httpx.ConnectError:
        return False
    assert answer.is_success, answer.text
    return True


def _gcs(port: int, bucket: str, folder: Path) -> tuple[Sequence[str], Mapping[str, str], Request]:
    url = f"http://127.0.0.1:{port}"
    arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
    variables = {"GOOGLE_BASE_URL": url, "GOOGLE_SKIP_SIGNATURE": "true", "GOOGLE_ALLOW_HTTP": "true"}
    create = ("POST", f"{url}/storage/v1/b", {"Content-Type": "application/json"}, f'{{"name": "{bucket}"}}'.encode())
    return [*arguments, "-backend", "memory", "-filesystem-root", str(folder)], variables, create


def _azure(port: int, bucket: str, folder: Path) -> tuple[Sequence[str], Mapping[str, str], Request]:
    url = f"http://127.0.0.1:{port}"
    variables = {
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURITE_BLOB_STORAGE_URL": url,
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_ALLOW_HTTP": "true",
    }
    sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": AZURE_VERSION}
    names = "".join(f"{name}:{value}\n" for name, value in sent.items())
    text = "PUT" + 12 * "\n" + f"{names}/{ACCOUNT}/{ACCOUNT}/{bucket}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    headers = {**sent, "Authorization": f"SharedKey {ACCOUNT}:{signature}"}
    create = ("PUT", f"{url}/{ACCOUNT}/{bucket}?restype=container", headers, b"")
    arguments = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    return [*arguments, "--skipApiVersionCheck", "--disableTelemetry"], variables, create
