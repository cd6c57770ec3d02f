"""A server that a kubeconfig leads to and that answers one list, as the API server does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.http_server import LocalHandler


class ApiServer(ThreadingHTTPServer):
    """Answers one list."""

    listed: list[dict[str, Any]]
    status = 200
    asked: list[str]


class Handler(LocalHandler):
    """As the API server answers."""

    server: ApiServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        document: dict[str, Any] = {"apiVersion": "v1", "kind": "List", "items": self.server.listed}
        self.answer(self.server.status, json.dumps(document).encode())


@contextmanager
def cluster_of_tests(
    listed: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    """Serve a list to the library `kubernetes`; its context is `try`, its namespace `imagery`."""
    with ApiServer(("127.0.0.1", 0), Handler) as server:
        server.listed, server.asked = listed, []
        url = f"http://127.0.0.1:{server.server_port}"
        context = {"cluster": "here", "user": "me", "namespace": "imagery"}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "try",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "of-no-use"}}],
            "contexts": [{"name": "try", "context": context}],
        }  # fmt: skip
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        # The library reads KUBECONFIG when it is imported.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
