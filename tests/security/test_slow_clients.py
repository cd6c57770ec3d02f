"""Clients that hold on to a gateway: half heads, tiny chunks, bodies that creep or nobody asked for, slow readers.

Each is tried against a gateway with short limits on a live stack. Meanwhile others are served.
"""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
from tests.integration.gateway.help import OwnGateway, own_gateways, resident_bytes
from tests.security.siege import besieged
from tests.support import web
from tests.support.http_server import LocalServer
from tests.support.sockets import has_ended
from tests.support.waiting import eventually

from muniflow_gateway.auth.api_keys import make_key
from muniflow_gateway.clients.coordinator import CONNECTIONS, PER_CALLER

pytestmark = pytest.mark.timeout(120)

SHORT = {
    "MUNIFLOW_HEAD_TIMEOUT_S": "2",
    "MUNIFLOW_BODY_TIMEOUT_S": "2",
    "MUNIFLOW_SEND_TIMEOUT_S": "2",
    "MUNIFLOW_MAX_CONNECTIONS": "200",
}
SOON_S = 30.0
"""Far beyond each of these limits, on a busy machine."""
SERVED_S = 20.0
"""Others are answered within this time, a third of what a slow head may take; a quiet machine takes milliseconds."""
MIB = 2**20


@pytest.fixture(scope="module")
def short_gateway(stack, tmp_path_factory):
    """With short limits and nothing else, for all tests here that leave it as it was."""
    with own_gateways(stack.environment, tmp_path_factory.mktemp("short"), OwnGateway.ready) as start:
        yield start(**SHORT)


@contextmanager
def connected(url, count=1):
    """So many connections."""
    place = urlsplit(url)
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=SOON_S))
            for _ in range(count)
        ]


def until_ended(*clients):
    """Wait until the gateway has closed all of them; what it says before is read."""
    left = list(clients)

    def none_left():
        left[:] = [client for client in left if not has_ended(client)]
        return not left

    eventually(none_left, SOON_S, lambda: f"{len(left)} connections are open still")


def answer_s(url, path="/livez"):
    """How long an answer takes."""
    began_s = time.monotonic()
    assert web.get(f"{url}{path}", timeout=SOON_S).is_success
    return time.monotonic() - began_s


def test_a_head_that_does_not_end_is_not_waited_for(short_gateway):
    began_s = time.monotonic()
    with connected(short_gateway.url, 2) as (fresh, used):
        used.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200" in used.recv(65536)
        for client in (fresh, used):
            client.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        until_ended(fresh, used)
        assert time.monotonic() - began_s > 1, "what is slow is not refused at once"


def test_a_head_that_creeps_is_not_waited_for_either(short_gateway):
    with connected(short_gateway.url) as (client,):
        client.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")

        def creeps():
            client.settimeout(SOON_S)
            try:
                client.sendall(b"a")
            except ConnectionError:
                return True
            return has_ended(client)

        eventually(creeps, SOON_S, every_s=0.2)


def test_more_half_heads_than_connections_keep_nobody_out(own_gateway):
    gateway = own_gateway(**{**SHORT, "MUNIFLOW_HEAD_TIMEOUT_S": "60"})
    with connected(gateway.url, 400) as clients:
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nX-Half: ")
        times = [answer_s(gateway.url, path) for path in ("/livez", "/readyz", "/v1/operations")]
        assert max(times) < SERVED_S, times
        kept = sum(not has_ended(client) for client in clients[-100:])
        assert kept > 50, "the newest ones have time still"


def test_a_stream_of_tiny_chunks_is_refused(short_gateway):
    with connected(short_gateway.url) as (client,):
        head = "POST /process HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())

        def flood():
            try:
                for _ in range(100):
                    client.sendall(b"1\r\na\r\n" * 10_000)
            except (ConnectionError, TimeoutError):
                return True
            return False

        with ThreadPoolExecutor(1) as pool:
            flooding = pool.submit(flood)
            times = [answer_s(short_gateway.url) for _ in range(5)]
            assert flooding.result(SOON_S * 2), "all of it was taken"
        assert max(times) < SERVED_S, times


def test_a_body_that_creeps_is_refused(short_gateway):
    with connected(short_gateway.url) as (client,):
        head = "POST /process HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())

        def refused():
            try:
                client.sendall(b"x")
            except ConnectionError:
                return True
            return has_ended(client)

        eventually(refused, 2 * SOON_S, every_s=0.3)


def test_after_its_refusal_a_client_cannot_go_on_sending(short_gateway):
    before_bytes = resident_bytes(short_gateway.process.pid)
    with connected(short_gateway.url) as (client,):
        client.sendall(b"POST /v1/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000000000\r\n\r\n")
        sent = 0
        with suppress(ConnectionError, TimeoutError):
            while sent < 400 * MIB:
                client.sendall(b"0" * MIB)
                sent += MIB
        assert sent < 64 * MIB
    assert resident_bytes(short_gateway.process.pid) - before_bytes < 50 * MIB
    assert answer_s(short_gateway.url) < SERVED_S


def test_a_body_of_json_that_creeps_is_refused(short_gateway):
    for path in ("/v1/session", "/v1/plans", "/v1/batches"):
        with connected(short_gateway.url) as (client,):
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: 4000\r\n\r\n".encode())
            answer = until_it_answers(client, b" ", every_s=0.3)
            assert answer.startswith(b"HTTP/1.1 408"), f"{path}: {answer}"


def until_it_answers(client, piece, every_s):
    """What a client is told that sends one piece after the other."""
    client.settimeout(0.05)
    told = bytearray()

    def answered():
        try:
            client.sendall(piece)
            told.extend(client.recv(65536))
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return bool(told)

    eventually(answered, 2 * SOON_S, every_s=every_s)
    return bytes(told)


def test_who_does_not_read_is_not_waited_for(own_gateway, large_answer):
    gateway = own_gateway(**SHORT)
    place = urlsplit(gateway.url)
    assert len(web.get(f"{gateway.url}{large_answer}", timeout=60).content) > 8 * MIB, "more than the kernel keeps"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((place.hostname, place.port))
        client.sendall(f"GET {large_answer} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        eventually(lambda: gateway.metric("muniflow_gateway_connections") >= 1, SOON_S, "a connection")
        eventually(lambda: gateway.metric("muniflow_gateway_connections") == 0, 2 * SOON_S, "its end")


def test_strangers_that_do_not_read_make_room(own_gateway):
    gateway = own_gateway(**{**SHORT, "MUNIFLOW_SEND_TIMEOUT_S": "60", "MUNIFLOW_MAX_CONNECTIONS": "50"})
    place = urlsplit(gateway.url)
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((place.hostname, place.port))
            client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
        assert answer_s(gateway.url) < SOON_S


def test_a_download_that_is_given_up_leaves_nothing_open(own_gateway, large_answer):
    gateway = own_gateway()
    web.get(f"{gateway.url}/v1/operations")
    open_files = Path(f"/proc/{gateway.process.pid}/fd")
    before = len(list(open_files.iterdir()))
    with connected(gateway.url, 20) as clients:
        for client in clients:
            client.sendall(f"GET {large_answer} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert client.recv(1)
    eventually(lambda: len(list(open_files.iterdir())) < before + 10, SOON_S, "files are closed")


def test_one_key_has_so_many_requests_at_a_time(own_gateway, large_answer):
    gateway = own_gateway(**{**SHORT, "MUNIFLOW_MAX_REQUESTS_PER_KEY": "2", "MUNIFLOW_SEND_TIMEOUT_S": "60"})
    request = f"GET {large_answer} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with connected(gateway.url, 3) as (first, second, third):
        for client in (first, second):
            client.sendall(request)
            assert client.recv(12) == b"HTTP/1.1 200"
        third.sendall(request)
        refusal = b""
        while b"}" not in refusal:
            piece = third.recv(65536)
            assert piece, refusal
            refusal += piece
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"MUNIFLOW_MAX_REQUESTS_PER_KEY" in refusal
        assert web.get(f"{gateway.url}/livez").is_success
    eventually(lambda: web.get(f"{gateway.url}/v1/operations").is_success, SOON_S, "their slots are free again")


def test_a_crowd_that_waits_for_the_coordinator_leaves_room_for_others(own_gateway, tmp_path):
    """The coordinator answers nothing about one owner, whose requests would fill every connection to it."""
    waiting: list[str] = []
    over = Event()

    class Coordinator(BaseHTTPRequestHandler):
        def do_GET(self):
            if "owner=hoorn" not in self.path:
                waiting.append(self.path)
                over.wait(SOON_S * 2)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"batches": [], "rejections": []}')

        def log_message(self, *_):
            pass

    secrets = {owner: make_key(tmp_path / "keys", owner, {"owner": owner}) for owner in ("gouda", "hoorn")}
    coordinator = LocalServer(Coordinator)
    gateway = own_gateway(
        MUNIFLOW_GATEWAY_OPEN="false",
        MUNIFLOW_API_KEYS_FILE=str(tmp_path / "keys"),
        MUNIFLOW_COORDINATOR_URL=coordinator.url,
    )
    with connected(gateway.url, CONNECTIONS * 2) as clients:
        for client in clients:
            client.sendall(
                f"GET /v1/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {secrets['gouda']}\r\n\r\n".encode()
            )
        eventually(lambda: len(waiting) >= PER_CALLER, SOON_S)
        answer = web.get(f"{gateway.url}/v1/batches", timeout=SOON_S, headers={"X-Api-Key": secrets["hoorn"]})
        at_once = len(waiting)  # once they are answered, others take their places
        over.set()
    coordinator.close()
    assert answer.status_code == 200, answer.text
    assert at_once == PER_CALLER


def test_one_address_has_so_many_connections(own_gateway):
    gateway = own_gateway(**{**SHORT, "MUNIFLOW_MAX_CONNECTIONS_PER_ADDRESS": "3", "MUNIFLOW_HEAD_TIMEOUT_S": "60"})
    with connected(gateway.url, 10) as clients:
        until_ended(*clients[:7])
        assert not any(has_ended(client) for client in clients[7:])
        assert answer_s(gateway.url) < SOON_S, "its newest one is served"


def test_behind_a_trusted_proxy_the_address_is_what_it_says(own_gateway, large_answer, tmp_path):
    secret = make_key(tmp_path / "keys", "behind", {})
    gateway = own_gateway(
        **{**SHORT, "MUNIFLOW_MAX_CONNECTIONS_PER_ADDRESS": "2", "MUNIFLOW_SEND_TIMEOUT_S": "60"},
        MUNIFLOW_TRUSTED_PROXIES="127.0.0.0/8",
        MUNIFLOW_GATEWAY_OPEN="false",
        MUNIFLOW_API_KEYS_FILE=str(tmp_path / "keys"),
    )

    def request(address):
        head = f"GET {large_answer} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {secret}\r\n"
        return f"{head}X-Forwarded-For: 203.0.113.9, {address}\r\n\r\n".encode()

    with connected(gateway.url, 5) as clients:
        answers = []
        for client, address in zip(clients, ["192.0.2.1"] * 3 + ["192.0.2.2"] * 2, strict=True):
            client.sendall(request(address))
            answers.append(client.recv(12))
        assert answers == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 503", b"HTTP/1.1 200", b"HTTP/1.1 200"]
    log = gateway.log.read_text()
    assert "origin=192.0.2.1" in log, "the audit names it, too"


def test_no_body_is_read_before_the_key_is_checked(own_gateway):
    gateway = own_gateway(MUNIFLOW_GATEWAY_OPEN="false", **{**SHORT, "MUNIFLOW_BODY_TIMEOUT_S": "60"})
    for path in ("/v1/plans", "/v1/batches/b/replay", "/v1/batches", "/process"):
        with connected(gateway.url) as (client,):
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: 900000\r\n\r\n{{".encode())
            assert client.recv(65536).startswith(b"HTTP/1.1 401"), path
    with connected(gateway.url) as (client,):
        head = "POST /v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode() + b" " * 5000)
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_one_key_cannot_take_all_slots_of_uploads(own_gateway):
    limits = {"MUNIFLOW_MAX_UPLOADS": "4", "MUNIFLOW_MAX_UPLOADS_PER_KEY": "2", "MUNIFLOW_BODY_TIMEOUT_S": "60"}
    gateway = own_gateway(**{**SHORT, **limits})
    head = "POST /process HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
    start = f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode()
    with connected(gateway.url, 3) as (first, second, third):
        for client in (first, second):
            client.sendall(start)
        eventually(lambda: gateway.metric("muniflow_gateway_uploads") == 2, SOON_S)
        third.sendall(start)
        answer = b"".join(iter(lambda: third.recv(65536), b""))  # head and body may come apart
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"with this key" in answer


def test_a_small_crowd_keeps_nobody_out(stack, tmp_path, large_answer):
    figures = besieged(stack, tmp_path, large_answer, count=140, seconds=10)
    assert figures.worst_s < SOON_S, figures
    assert max(figures.grown_bytes.values()) < 100 * MIB, figures


@pytest.mark.security
@pytest.mark.timeout(300)
def test_1500_slow_clients_keep_nobody_out(stack, tmp_path, large_answer):
    figures = besieged(stack, tmp_path, large_answer, count=1500, seconds=90)
    assert figures.worst_s < 1, figures
    assert max(figures.grown_bytes.values()) < 50 * MIB, figures
