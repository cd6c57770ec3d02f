"""A server in this process that speaks S3: moto's."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support import web

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

START_S = 60.0
"""For the first answer: it loads its code then."""
Application = Callable[[dict[str, Any], Callable[..., object]], Any]
"""As WSGI has it."""


@dataclass(frozen=True)
class MotoServer:
    """It runs."""

    server: "ThreadedMotoServer"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.server.get_host_and_port()

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://{host}:{port}"

    def wrap(self, wrapper: Callable[[Application], Application]) -> None:
        """Put something before all that it answers."""
        running = vars(self.server)["_server"]
        running.app = wrapper(running.app)

    def empty(self) -> None:
        """Forget all buckets: of all such servers, since moto keeps them for the process."""
        assert web.post(f"{self.url}/moto-api/reset", timeout=START_S).is_success

    def make_bucket(self, name: str) -> None:
        assert web.request("PUT", f"{self.url}/{name}", timeout=START_S).is_success


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """Run one on a free port."""
    from moto.server import ThreadedMotoServer  # half a second

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield MotoServer(server)
    finally:
        server.stop()
