"""The HTTP server beside every process, and clients that hold on to it: nobody else waits for them."""

import socket
import threading
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from tests.support import web
from tests.support.sockets import has_ended
from tests.support.waiting import eventually

from muniflow.runtime.http import HttpServer
from muniflow.runtime.listener import LINGER_BYTES, ListenerLimits

TCP_CLOSE = 7
"""The state of Linux's `tcp_info`."""
LONG_S = 20.0
"""Far beyond each of the short limits, on a busy machine."""
SHORT = ListenerLimits(head_timeout_s=0.3, send_timeout_s=0.3)
PATIENT = ListenerLimits(head_timeout_s=600, send_timeout_s=600)
"""Of these clients none is ended in time: others must not wait for them."""


class Text(BaseModel):
    text: str


@contextmanager
def serving(limits, **routes):
    routes = {f"/{name}": route for name, route in routes.items()}
    routes["/big"] = lambda _query, _parts: Text(text="a" * 20_000_000)
    with HttpServer(
        "127.0.0.1:0", CollectorRegistry(), routes, live=lambda: True, ready=lambda: None, limits=limits
    ) as running:
        yield running


@contextmanager
def connected(server, count, sent, receive_bytes=None):
    """So many clients that have sent this."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            if receive_bytes:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            client.settimeout(LONG_S)
            client.connect(("127.0.0.1", server.port))
            client.sendall(sent)
            clients.append(client)
        yield clients


def status(server, path="/livez"):
    return web.get(f"http://127.0.0.1:{server.port}{path}", timeout=LONG_S).status_code


def was_reset(client):
    """Whether the other end has reset a connection, without a look at what came before."""
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE


@pytest.mark.parametrize(
    ("sent", "receive_bytes"),
    [(b"GET / HTTP/1.1\r\nX-Half: ", None), (b"", None), (b"GET /big HTTP/1.1\r\n\r\n", 4096)],
    ids=["half heads", "nothing", "answers that are not read"],
)
def test_nobody_waits_for_slow_clients(sent, receive_bytes):
    with serving(PATIENT) as server, connected(server, 40, sent, receive_bytes):
        for path in ("/livez", "/readyz", "/metrics", "/nothing"):
            assert status(server, path) in {200, 404}


def test_health_waits_for_no_route():
    held = threading.Event()
    with serving(PATIENT, slow=lambda _query, _parts: held.wait(LONG_S) and None) as server:
        try:
            with connected(server, PATIENT.max_threads + 1, b"GET /slow HTTP/1.1\r\n\r\n"):
                eventually(lambda: threading.active_count() > PATIENT.max_threads, LONG_S, "all threads work")
                assert (status(server), status(server, "/readyz")) == (200, 200)
        finally:
            held.set()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-Half: "])
def test_a_head_that_does_not_end_is_not_waited_for(sent):
    with serving(SHORT) as server, connected(server, 3, sent) as clients:
        for client in clients:
            eventually(partial(has_ended, client), LONG_S)


def test_a_head_that_creeps_is_not_waited_for_either():
    with serving(SHORT) as server, connected(server, 1, b"GET / HTTP/1.1\r\nX-Slow: ") as (client,):

        def creeps():
            try:
                client.sendall(b"a")
            except ConnectionError:
                return True
            return has_ended(client)

        eventually(creeps, LONG_S)


def test_a_reader_that_does_not_read_is_ended():
    with serving(SHORT) as server, connected(server, 1, b"GET /big HTTP/1.1\r\n\r\n", 4096) as (client,):
        eventually(lambda: was_reset(client), LONG_S, "it is ended")
        eventually(lambda: not server.connections, LONG_S, "it is forgotten")


def test_a_slow_reader_that_reads_gets_everything():
    with serving(SHORT) as server, connected(server, 1, b"GET /big HTTP/1.1\r\n\r\n") as (client,):
        assert len(all_of(client)) > 20_000_000


def test_beyond_the_limit_the_oldest_is_ended():
    limits = ListenerLimits(head_timeout_s=600, max_connections=10)
    with serving(limits) as server, connected(server, 30, b"GET / HTTP/1.1\r\n") as clients:
        assert status(server) == 200
        eventually(lambda: all(has_ended(client) for client in clients[:20]), LONG_S)
        assert not has_ended(clients[-1])


def test_a_body_is_not_read_and_its_sender_sees_the_answer():
    body = b"0" * (LINGER_BYTES // 2)
    head = f"POST /big HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(PATIENT) as server, connected(server, 1, head + body) as (client,):
        assert b" 405 " in all_of(client).splitlines()[0]


def test_who_sends_on_after_its_answer_is_ended():
    with serving(PATIENT) as server, connected(server, 1, b"POST / HTTP/1.1\r\n\r\n") as (client,):
        with pytest.raises(ConnectionError):
            client.sendall(b"0" * 1000 * LINGER_BYTES)
        assert status(server) == 200


def all_of(client):
    """All that comes until the end."""
    client.settimeout(LONG_S)
    found = bytearray()
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionError:
        pass
    return bytes(found)
