"""A receiver of webhooks on loopback, and what a coordinator is told so that it may reach it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook
from tests.support.http_server import LocalHandler

from muniflow.runtime.settings import variable

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Hook(LocalHandler):
    """Keeps what it is told."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Hooks)
        self.server.subjects.append(Webhook(SECRET).verify(self.read_body(), dict(self.headers))["subject"])
        self.answer(200)


class Hooks(ThreadingHTTPServer):
    """A receiver of webhooks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.subjects: list[str] = []
        """The batch of each webhook, whose signature was right."""

    @property
    def url(self) -> str:
        """Of a webhook."""
        return f"http://127.0.0.1:{self.server_port}/ended"

    def variables(self, folder: Path) -> dict[str, str]:
        """What the coordinator is told; the secrets go into a new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        secrets = folder / "webhooks.json"
        secrets.write_text(json.dumps({"default": {"secrets": [SECRET]}}))
        return {
            variable("webhook_hosts"): f"127.0.0.1:{self.server_port}",
            variable("webhooks_file"): str(secrets),
            variable("webhook_loopback"): "true",
        }


@contextmanager
def receiving() -> Iterator[Hooks]:
    """A receiver that runs."""
    with Hooks() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
