"""Azure's blob storage as its free emulator, where that is installed (`npm install azurite`). It knows no policies.

For Google there is `tests.support.google_storage`.
"""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from tests.support import web
from tests.support.waiting import eventually

from muniflow_cli.stack.ports import free_ports

AZURITE = os.environ.get("MUNIFLOW_AZURITE") or shutil.which("azurite-blob")
"""The program; where there is none its tests are left out, so that no run is full of skips."""
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, the same everywhere."""
VERSION = "2021-08-06"


@contextmanager
def azurite(container: str, folder: Path) -> Iterator[str]:
    """The URL of an empty container; the variables that reach it are set meanwhile."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    arguments = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    log = folder / "azurite.log"
    with (
        pytest.MonkeyPatch.context() as patch,
        log.open("wb") as output,
        subprocess.Popen(
            [str(AZURITE), *arguments, "--skipApiVersionCheck", "--disableTelemetry"], stdout=output, stderr=output
        ) as process,
    ):
        try:
            patch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
            patch.setenv("AZURITE_BLOB_STORAGE_URL", url)
            patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
            patch.setenv("AZURE_ALLOW_HTTP", "true")
            eventually(lambda: _created(url, container), what=log.read_text)
            yield f"az://{container}"
        finally:
            process.kill()


def _created(url: str, container: str) -> bool:
    """Make a container; false while nobody listens."""
    sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
    names = "".join(f"{name}:{value}\n" for name, value in sent.items())
    text = "PUT" + 12 * "\n" + f"{names}/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    headers = {**sent, "Authorization": f"SharedKey {ACCOUNT}:{signature}"}
    try:
        answer = web.request("PUT", f"{url}/{ACCOUNT}/{container}?restype=container", headers=headers)
    except httpx.ConnectError:
        return False
    assert answer.is_success, answer.text
    return True
