"""The HTTP server beside every process."""

import http.client
import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel
from tests.support.waiting import LIMIT_S, eventually

from muniflow.errors import Invalid, NotFound, Rejected, Unavailable
from muniflow.runtime.http import HttpServer, SharedText, match, parse_bind


class Echo(BaseModel):
    query: dict[str, str]
    parts: tuple[str, ...]


class Health:
    def __init__(self):
        self.live = True
        self.disconnect_reason = None


def fail(error):
    def route(_query, _parts):
        raise error

    return route


ROUTES = {
    "/v1/batches": lambda query, parts: Echo(query=query, parts=parts),
    "/v1/batches/*": lambda query, parts: Echo(query=query, parts=parts) if parts != ("none",) else None,
    "/v1/batches/*/images": lambda _query, parts: Echo(query={}, parts=parts),
    "/missing": fail(NotFound("no such image")),
    "/rejected": fail(Rejected("limit is 1 to 1000")),
    "/away": fail(Unavailable("database")),
    "/bug": fail(RuntimeError("secret detail")),
}


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def server(health):
    registry = CollectorRegistry()
    Counter("muniflow_things", "Things.", registry=registry).inc(3)
    with HttpServer(
        "127.0.0.1:0", registry, ROUTES, live=lambda: health.live, ready=lambda: health.disconnect_reason
    ) as running:
        yield running


def ask(server, path, method="GET"):
    """Status, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "query", "parts"),
    [
        ("/v1/batches", {}, []),
        ("/v1/batches?state=running&after=", {"state": "running", "after": ""}, []),
        ("/v1/batches/utrecht-1", {}, ["utrecht-1"]),
        ("/v1/batches/a%2Fb%20c", {}, ["a/b c"]),
        ("/v1/batches/x/images?limit=3", {}, ["x"]),
    ],
)
def test_a_route_gets_its_query_and_its_parts(server, path, query, parts):
    status, headers, body = ask(server, path)
    assert (status, json.loads(body)) == (200, {"query": query, "parts": parts})
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 404, "no such path"),
        ("/v1/batches/", 404, "no such path"),
        ("/v1/batches/none", 404, "not found"),
        ("/missing", 404, "no such image"),
        ("/rejected", 400, "limit is 1 to 1000"),
        ("/away", 503, "database is unavailable"),
        ("/bug", 500, "internal error"),
        ("/v1/batches?" + "a=1&" * 99, 400, "parameters"),
    ],
)
def test_an_error_is_json(server, path, status, text):
    got, headers, body = ask(server, path)
    assert got == status
    assert headers["Content-Type"] == "application/json"
    assert text in json.loads(body)["error"]
    assert b"secret" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "NONSENSE"])
def test_it_only_answers(server, method):
    status, headers, body = ask(server, "/v1/batches", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["error"]


def test_head_is_get_without_its_body(server):
    status, headers, body = ask(server, "/v1/batches/a", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(ask(server, "/v1/batches/a")[2])


def test_metrics(server):
    status, headers, body = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert b"muniflow_things_total 3.0" in body


def test_health(server, health):
    assert (ask(server, "/livez")[0], ask(server, "/readyz")[0]) == (200, 200)
    health.disconnect_reason = "no broker: connection refused"
    status, _, body = ask(server, "/readyz")
    assert (status, json.loads(body)) == (503, {"error": "no broker: connection refused"})
    assert ask(server, "/livez")[0] == 200
    health.live = False
    assert ask(server, "/livez")[0] == 503


def test_every_answer_has_the_headers_of_caution(server):
    for path in ("/metrics", "/livez", "/v1/batches", "/nowhere"):
        headers = ask(server, path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Python" not in headers["Server"]


def test_a_request_of_garbage_or_without_end_does_no_harm(server):
    for request in (b"\x00\xff\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHalf"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert ask(server, "/livez")[0] == 200


def test_many_ask_at_once(server):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: ask(server, f"/v1/batches/{number}"), range(100)))
    assert [json.loads(body)["parts"] for _, _, body in answers] == [[str(number)] for number in range(100)]


def test_a_taken_port_is_said(server):
    with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port}"):
        HttpServer(f"127.0.0.1:{server.port}", CollectorRegistry(), live=lambda: True, ready=lambda: None)


def test_after_stop_the_port_is_free():
    first = HttpServer("127.0.0.1:0", CollectorRegistry(), live=lambda: True, ready=lambda: None)
    first.start()
    first.stop()
    second = HttpServer(f"127.0.0.1:{first.port}", CollectorRegistry(), live=lambda: True, ready=lambda: None)
    second.stop()


@pytest.mark.parametrize(
    ("bind", "expected"), [("127.0.0.1:80", ("127.0.0.1", 80)), (":0", ("", 0)), ("0.0.0.0:9", ("0.0.0.0", 9))]  # noqa: S104
)  # fmt: skip
def test_an_address(bind, expected):
    assert parse_bind(bind) == expected


@pytest.mark.parametrize("bind", ["", "127.0.0.1", "127.0.0.1:", "a:b", "a:70000", "a:-1"])
def test_what_is_no_address(bind):
    with pytest.raises(Invalid, match="MUNIFLOW_HTTP_BIND"):
        parse_bind(bind)


@pytest.mark.parametrize(
    ("pattern", "path", "parts"),
    [
        ("/a", "/a", ()),
        ("/a", "/a/", None),
        ("/a/*", "/a/b", ("b",)),
        ("/a/*", "/a/", None),
        ("/a/*", "/a/b/c", None),
        ("/a/*/c/*", "/a/b/c/d", ("b", "d")),
        ("/a/*", "/a/..%2Fb", ("../b",)),
    ],
)
def test_a_path_is_matched_part_by_part(pattern, path, parts):
    assert match(pattern, path) == parts


def test_a_text_is_made_once_for_all_who_ask_meanwhile():
    made: list[int] = []
    may_end = threading.Event()

    def make():
        made.append(len(made))
        may_end.wait(LIMIT_S)
        return b"%d" % made[-1]

    def asking():
        return sum(frame.f_code is SharedText.get.__code__ for frame in sys._current_frames().values())

    text = SharedText(make)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(text.get)
        eventually(lambda: made)
        later = [pool.submit(text.get) for _ in range(9)]
        eventually(lambda: asking() == len(later))
        may_end.set()
        assert first.result() == b"0"
        assert b"0" not in {each.result() for each in later}
    assert len(made) <= 3, "one for all, and for who had not quite begun"


def test_a_text_that_could_not_be_made_is_made_for_the_next():
    answers = iter((ValueError("broken"), b"whole"))

    def make():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    text = SharedText(make)
    with pytest.raises(ValueError, match="broken"):
        text.get()
    assert text.get() == b"whole"
