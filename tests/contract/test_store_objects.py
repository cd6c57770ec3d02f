"""What only an object store has: a network, credentials and answers of a server."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest
from tests.support.http_server import LocalHandler

from muniflow.errors import Invalid, NotFound, Rejected, Unavailable
from muniflow.store.objects import ObjectStore

ANSWER = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>of the test</Message></Error>"


class Server(ThreadingHTTPServer):
    """Answers everything with one status and one S3 error code."""

    status = 200
    code = ""


class Handler(LocalHandler):
    server: Server

    def refuse(self) -> None:
        self.read_body()
        body = b"" if self.command == "HEAD" else ANSWER.format(code=self.server.code).encode()
        self.answer(self.server.status, body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = refuse  # noqa: N815 - names that http.server looks for


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield server
        server.shutdown()
        thread.join()


def calls(store: ObjectStore) -> list[Callable[[], object]]:
    return [
        lambda: store.read("a"),
        lambda: store.read("a", 1, 2),
        lambda: store.write("a", b"x"),
        lambda: store.write("a", iter([b"x"])),
        lambda: list(store.list()),
        lambda: store.delete("a"),
        lambda: store.delete_prefix("a/"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "AccessDenied", "not allowed to"),
        (401, "InvalidToken", "not allowed to"),
        (404, "NoSuchBucket", "NoSuchBucket"),
        (400, "ExpiredToken", "ExpiredToken"),
        (429, "SlowDown", "SlowDown"),
        (503, "SlowDown", "SlowDown"),
        (500, "InternalError", "InternalError"),
    ],
)
def test_a_refusal_of_the_server_is_trouble_and_says_which(server: Server, status: int, code: str, text: str) -> None:
    server.status, server.code = status, code
    # One call for the statuses that obstore itself tries again: each takes a second.
    some = calls(ObjectStore.from_url("s3://city"))
    for call in some if status < 429 else some[:1]:
        with pytest.raises(Unavailable, match=text) as caught:
            call()
        assert "s3://city" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_blob_is_told_from_a_missing_bucket(server: Server) -> None:
    server.status, server.code = 404, "NoSuchKey"
    with pytest.raises(NotFound):
        ObjectStore.from_url("s3://city").read("a")


def test_a_server_that_is_away_is_trouble(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    del server
    with pytest.raises(Unavailable, match="s3://city: cannot read 'a'"):
        ObjectStore.from_url("s3://city").read("a")


def test_plain_http_is_refused_unless_it_is_allowed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status, server.code = 404, "NoSuchKey"
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(Unavailable):
        ObjectStore.from_url("s3://city").read("a")


@pytest.mark.parametrize("url", ["s3:///prefix", "nothing://x", "s3"])
def test_a_wrong_url_is_invalid(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        ObjectStore.from_url(url)
    assert isinstance(caught.value, Rejected)
    assert caught.value.faults[0].place == url
