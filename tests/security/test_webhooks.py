"""Webhooks reach what the operator allows and nothing else, whatever a URL, a name server or a receiver says."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.certificates import Authority

from muniflow_coordinator.webhooks.policy import NotAllowed, WebhookPolicy
from muniflow_coordinator.webhooks.sender import WebhookSender

pytestmark = pytest.mark.timeout(120)
ALLOWED = WebhookPolicy(frozenset({("hooks.example.org", 443), ("hooks.example.net", 8443)}))
PUBLIC, PRIVATE = "93.184.215.14", "10.1.2.3"
SHORT_S = 1.0
BARE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody."""


def found(*addresses: str) -> list[Any]:
    """An answer of `getaddrinfo`."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return [(families[ip_address(each).version], socket.SOCK_STREAM, 6, "", (each, 443)) for each in addresses]


@pytest.mark.parametrize("url", [
    "https://evil.example.org/", "https://hooks.example.org.evil.example/", "https://hooks.example.org:8443/",
    "https://hooks.example.net/", "http://hooks.example.org/", "http://hooks.example.org:443/",
    "https://me@hooks.example.org/", "https://me:secret@hooks.example.org/", "https://hooks.example.org@10.0.0.1/",
    "https://hooks.example.org:443@10.0.0.1/", "https://10.0.0.1#@hooks.example.org/",
    "https://10.0.0.1\\@hooks.example.org/", "https://hooks.example.org\\.evil.example/", "https://hooks.example.org./",
    "https://hooks.example.org%2eevil.example/", "https://hooks。example。org/", "https://hooks.example.org:0/",
    "https://hooks.example.org:99999/", "https://hooks.example.org:/", "https:hooks.example.org/",
    "//hooks.example.org/", " https://hooks.example.org/", "https://hooks.example.org/\r\nX: y",
    "https://hooks.example.org/a b",
    "https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://0177.0.0.1/", "https://127.1/",
    "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest/meta-data/", "https://localhost/",
    "file:///etc/passwd", "gopher://hooks.example.org/", "ftp://hooks.example.org/", "",
])  # fmt: skip
def test_a_url_that_is_not_allowed_is_never_looked_up(url: str) -> None:
    def never(*_args: object, **_kwargs: object) -> Any:
        raise AssertionError("looked up")

    failure = WebhookSender(ALLOWED, BARE, never).send(url, {}, b"{}")
    assert failure is not None
    assert failure.code in {"host_not_allowed", "scheme_not_allowed"}


@pytest.mark.parametrize("host", [
    "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1", "0", "10.0.0.1",
    "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "255.255.255.255",
    "224.0.0.1", "192.0.2.1", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:a9fe:a9fe]",
    "[fe80::1]", "[fd00::1]", "[fec0::1]", "[ff02::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]",
    "[2001:0:7f00:1::]", "[::127.0.0.1]", "[2001:db8::1]",
])  # fmt: skip
def test_an_address_that_is_not_public_is_refused_even_if_the_operator_lists_its_name(host: str) -> None:
    """By the machine's own `getaddrinfo`, which reads numbers in every form."""
    policy = WebhookPolicy(frozenset({(host.strip("[]"), 443)}))
    failure = WebhookSender(policy, BARE).send(f"https://{host}/", {}, b"{}")
    assert failure is not None
    assert failure.code in {"address_not_allowed", "name_unknown"}


@pytest.mark.parametrize(("answers", "networks", "allowed"), [
    ([PUBLIC], (), True), ([PRIVATE], (), False), ([PUBLIC, PRIVATE], (), False), ([PRIVATE, PUBLIC], (), False),
    (["2606:4700::1111"], (), True), ([PUBLIC, "::1"], (), False), (["::ffff:10.1.2.3"], (), False),
    ([PRIVATE], ("10.1.0.0/16",), True), (["::ffff:10.1.2.3"], ("10.1.0.0/16",), True),
    (["10.2.0.1"], ("10.1.0.0/16",), False),
    (["127.0.0.1"], ("10.0.0.0/8",), False), ([], (), False),
])  # fmt: skip
def test_a_name_is_trusted_only_if_all_its_addresses_are(
    answers: list[str], networks: tuple[str, ...], allowed: bool
) -> None:
    policy = WebhookPolicy(ALLOWED.hosts, tuple(map(ip_network, networks)))
    target = policy.target("https://hooks.example.org/")
    if allowed:
        assert [address[0] for _, address in policy.addresses(target, found(*answers))] == answers
    else:
        with pytest.raises(NotAllowed):
            policy.addresses(target, found(*answers))


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers as the server is told, and keeps what it got."""

    server: "Receiver"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.server.answer(self)

    do_GET = do_POST  # what a redirect would ask for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class Receiver(http.server.ThreadingHTTPServer):
    """A server on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.names: list[str | None] = []
        self.answer = lambda handler: status(handler, 200)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


def status(handler: Answering, code: int, **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[Receiver]:
    with Receiver() as server:
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: server.names.append(name)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    """With a certificate for `localhost`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.signed("receiver"))
    with serving(context) as server:
        yield server


def sender(authority: Path, port: int, host: str = "localhost", **options: Any) -> WebhookSender:
    policy = WebhookPolicy(frozenset({(host, port)}), loopback=True)
    tls = ssl.create_default_context(cafile=authority)
    resolve = options.pop("resolve", lambda *_args, **_kwargs: at_loopback(port))
    return WebhookSender(policy, tls, resolve, **options)


def at_loopback(port: int) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_it_is_sent_to_the_address_of_one_look_up_under_the_name_of_the_url(
    receiver: Receiver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    looked_up = []

    def resolve(*args: object, **_kwargs: object) -> list[Any]:
        looked_up.append(args)
        return at_loopback(receiver.port) if len(looked_up) == 1 else found(PRIVATE)

    sends = sender(authority.certificate, receiver.port, resolve=resolve)
    url = f"https://LOCALHOST:{receiver.port}/hook?token=1"
    assert sends.send(url, {"webhook-id": "msg_1"}, b'{"a": 1}') is None
    assert looked_up == [("localhost", receiver.port)]
    [(path, headers, body)] = receiver.got
    assert (path, headers["Host"], body) == ("/hook?token=1", f"localhost:{receiver.port}", b'{"a": 1}')
    assert headers["webhook-id"] == "msg_1"
    assert receiver.names == ["localhost"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, authority: Authority, code: int) -> None:
    with serving(None) as inner:
        receiver.answer = lambda handler: status(handler, code, Location=f"http://127.0.0.1:{inner.port}/secret")
        failure = sender(authority.certificate, receiver.port).send(f"https://localhost:{receiver.port}/", {}, b"{}")
        assert failure is not None
        assert (failure.code, failure.final) == ("redirected", False)
        assert inner.got == []


@pytest.mark.parametrize(("code", "reason", "final"), [(500, "answer_refused", False), (410, "gone", True)])
def test_an_answer_that_is_no_success_is_a_failure(
    receiver: Receiver, authority: Authority, code: int, reason: str, final: bool
) -> None:
    receiver.answer = lambda handler: status(handler, code, details="of the receiver")
    failure = sender(authority.certificate, receiver.port).send(f"https://localhost:{receiver.port}/", {}, b"{}")
    assert failure is not None
    assert (failure.code, failure.final, failure.text.split(":")[0]) == (reason, final, f"answered {code}")


@pytest.mark.parametrize("trusted", [True, False])
def test_the_certificate_is_checked_for_the_name_and_the_authority(
    receiver: Receiver, authority: Authority, tmp_path: Path, trusted: bool
) -> None:
    host = "other.example.org" if trusted else "localhost"
    known = authority if trusted else Authority(tmp_path)
    sends = sender(known.certificate, receiver.port, host)
    failure = sends.send(f"https://{host}:{receiver.port}/", {}, b"{}")
    assert failure is not None
    assert failure.code == "tls_failed"
    assert receiver.got == []


def drip(handler: Answering) -> None:
    """A byte at a time, so that no single read takes long."""
    with contextlib.suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            threading.Event().wait(0.05)


def test_a_receiver_that_is_silent_or_slow_is_cut_off(receiver: Receiver, authority: Authority) -> None:
    url = f"https://localhost:{receiver.port}/"
    receiver.answer = drip
    failure = sender(authority.certificate, receiver.port, attempt_s=SHORT_S).send(url, {}, b"{}")
    assert failure is not None
    assert failure.code == "timed_out"
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:  # not even a handshake
        port = silent.getsockname()[1]
        sends = sender(authority.certificate, port, attempt_s=SHORT_S)
        failure = sends.send(f"https://localhost:{port}/", {}, b"{}")
        assert failure is not None
        assert failure.code == "timed_out"


def test_http_is_for_tests_alone() -> None:
    with serving(None) as plain:
        url, hosts = f"http://localhost:{plain.port}/", frozenset({("localhost", plain.port)})
        resolve: Any = lambda *_args, **_kwargs: at_loopback(plain.port)  # noqa: E731
        refused = WebhookSender(WebhookPolicy(hosts), BARE, resolve).send(url, {}, b"{}")
        assert refused is not None
        assert refused.code == "scheme_not_allowed"
        elsewhere: Any = lambda *_args, **_kwargs: found(PUBLIC)  # noqa: E731
        away = WebhookSender(WebhookPolicy(hosts, loopback=True), BARE, elsewhere).send(url, {}, b"{}")
        assert away is not None
        assert away.code == "scheme_not_allowed"
        assert plain.got == []
        assert WebhookSender(WebhookPolicy(hosts, loopback=True), BARE, resolve).send(url, {}, b"{}") is None
        assert len(plain.got) == 1
