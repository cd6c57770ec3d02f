"""What hostile clients send, with numbers; the gateway's memory is measured where it counts."""

import asyncio
import contextlib
import hashlib
import http.client
import io
import json
import socket
import struct
import urllib.parse
import zipfile

import aiohttp
import httpx
import pytest
from tests.integration.gateway.help import ACTIONS, PICTURES, form, picture, resident_bytes

pytestmark = pytest.mark.timeout(180)

MIB = 2**20
GROWTH_BYTES = 50 * MIB
HEAD = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
CONTENT_TYPE = {"Content-Type": "multipart/form-data; boundary=b"}
NOISE = hashlib.shake_128(b"noise").digest(MIB)
JPEG_HEAD = b"\xff\xd8\xff\xe0"
JPEG_PICTURE = next(path for path in PICTURES if path.suffix == ".jpg").read_bytes()


def part(name, body, filename=None):
    label = f'; filename="{filename}"'.encode() if filename else b""
    return HEAD % (name.encode(), label) + body + b"\r\n"


ACTIONS_PART = part("actions", json.dumps(ACTIONS).encode())


def send_chunked(url, chunks):
    """POST without a length; returns the status, also when the gateway answers before the end."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    sent = 0
    try:
        connection.putrequest("POST", "/process")
        connection.putheader("Content-Type", CONTENT_TYPE["Content-Type"])
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        try:
            for chunk in chunks:
                connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                sent += len(chunk)
            connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            return connection.getresponse().status, sent
        except (ConnectionResetError, http.client.RemoteDisconnected):
            return None, sent
    finally:
        connection.close()


class Memory:
    """How much a process has grown since."""

    def __init__(self, pid):
        self.pid = pid
        self.before_bytes = self.most_bytes = resident_bytes(pid)

    def look(self):
        self.most_bytes = max(self.most_bytes, resident_bytes(self.pid))

    @property
    def growth_bytes(self):
        self.look()
        return self.most_bytes - self.before_bytes


def test_a_gigabyte_in_chunks_is_cut_and_nothing_of_it_is_kept(stack):
    memory = Memory(stack.gateway_pid)

    def gigabyte():
        yield ACTIONS_PART + HEAD % (b"files", b'; filename="a.jpg"') + JPEG_HEAD
        for number in range(1024):
            if number % 32 == 0:
                memory.look()
            yield NOISE
        yield b"\r\n--b--\r\n"

    status, sent_bytes = send_chunked(stack.url, gigabyte())

    assert status in {413, None}
    assert 512 * MIB <= sent_bytes < 560 * MIB
    assert memory.growth_bytes < GROWTH_BYTES
    assert [path for path in (stack.folder / ".muniflow/uploads").rglob("*") if path.stat().st_size > 400 * MIB] == []


def test_a_length_that_is_too_large_is_refused_before_the_body(stack):
    head = b"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"

    answer = raw(stack, head + b"Content-Length: 3221225472\r\nExpect: 100-continue\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"\r\nconnection: close" in answer.lower()


def test_ten_thousand_parts_are_refused_and_a_thousand_taken(stack, http):
    memory = Memory(stack.gateway_pid)
    small = JPEG_HEAD + bytes(80)
    body = ACTIONS_PART + part("files", small, "a.jpg") * 10_000 + b"--b--\r\n"

    answer = http.post("/process", headers=CONTENT_TYPE, content=body)

    assert answer.status_code == 413
    assert "files" in answer.json()["detail"]
    assert memory.growth_bytes < GROWTH_BYTES


@pytest.mark.parametrize(
    "name",
    [
        "../../../../tmp/evil.jpg",
        "/etc/cron.d/evil.jpg",
        "..%2f..%2fevil.jpg",
        r"..\\..\\evil.jpg",
        "a\0b.jpg",
        "..",
        ".",
        "\u202egpj.exe",
        "x" * 2000 + ".jpg",
        "CON",
        "a\nb.jpg",
        ".muniflow-tmp-1.jpg",
        "💥.jpg",
        "<img src=x onerror=alert(1)>.jpg",
    ],
)
def test_file_names_are_labels_only(stack, http, name):
    _, picture_bytes = picture()
    quoted = name.replace("\n", "%0A").replace('"', "%22").encode()
    body = ACTIONS_PART + HEAD % (b"files", b'; filename="' + quoted + b'"') + picture_bytes + b"\r\n--b--\r\n"

    answer = http.post("/process", headers=CONTENT_TYPE, content=body)

    assert answer.text == "OK"
    batch_id = answer.headers["X-Batch-Id"]
    assert stack.settled(batch_id)["done"] == 1
    (image,) = http.get(f"/v1/batches/{batch_id}/images").json()["images"]
    folder = stack.folder / ".muniflow/uploads" / batch_id
    (stored,) = folder.iterdir()
    assert (stack.folder / image["source"]) == stored
    assert stored.read_bytes() == picture_bytes
    listing = http.get(f"/static/{batch_id}/sent/").text
    assert "<img src=x" not in listing
    assert http.get(f"/static/{batch_id}/sent/{urllib.parse.quote(stored.name)}").content == picture_bytes


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/{id}/../../../stack.json",
        "/static/{id}/%2e%2e/x",
        "/static/{id}/sent/..%2f..%2f..%2fstack.json",
        "/static/{id}/sent/%00",
        "/static/{id}/sent//etc/passwd",
        "/static/{id}/sent/link.jpg",
        "/static/{id}/%5c..%5c..",
        "/page/..%2fservice.py",
        "/page/%2e%2e/service.py",
        "/page/app.py",
        "/static/{id}/sent/" + "a" * 3000,
        "/v1/batches/..%2f..%2fx",
        "/v1/batches/%00",
        "/static/{id}/folder/secret.jpg",
    ],
)
def test_nothing_outside_is_ever_served(stack, http, path):
    batch_id = http.post("/process", **form(picture())).headers["X-Batch-Id"]
    folder = stack.folder / ".muniflow/uploads" / batch_id
    (folder / "link.jpg").symlink_to("/etc/passwd")
    (folder / "folder").symlink_to("/etc")

    answer = raw(
        stack, f"GET {path.format(id=batch_id)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )

    status = int(answer.split(b" ", 2)[1])
    assert status in {307, 403, 404, 422}
    assert b"root:" not in answer
    assert b"import" not in answer


def test_what_is_two_things_at_once_is_never_a_page(stack, http):
    name, body = "script.jpg.html", JPEG_PICTURE + b"<script>alert(1)</script>"
    answer = http.post("/process", **form((name, body)))
    assert answer.text == "OK"

    sent = http.get(f"/static/{answer.headers['X-Batch-Id']}/sent/{name}")

    assert (sent.status_code, sent.headers["Content-Type"], sent.content) == (200, "image/jpeg", body)
    assert sent.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in sent.headers["Content-Security-Policy"]
    assert stack.settled(answer.headers["X-Batch-Id"])["state"] == "done"


BOMB = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000) + bytes(100)
ANIMATED = b"RIFF\x28\0\0\0WEBPVP8X\x0a\0\0\0" + bytes([0x02, *bytes(9)]) + bytes(80)


@pytest.mark.parametrize(
    ("name", "body", "problem"),
    [
        ("bomb.png", BOMB, "the image is 60000x60000, 3600000000 pixels; the limit is"),
        ("page.jpg", JPEG_HEAD + b"<html><script>alert(1)</script></html>" + bytes(60), "the JPEG is truncated"),
        ("archive.png", b"\x89PNG\r\n\x1a\nPK\x03\x04" + bytes(80), "the PNG is truncated"),
    ],
)
def test_what_no_step_accepts_is_refused_at_the_door(stack, http, name, body, problem):
    before = set((stack.folder / ".muniflow/uploads").glob("*"))

    answer = http.post("/process", **form((name, body), picture()))

    assert answer.status_code == 422
    (fault,) = answer.json()["faults"]
    assert fault["place"] == "files[0]"
    assert fault["problem"].startswith(f"{name}: {problem}")
    assert set((stack.folder / ".muniflow/uploads").glob("*")) == before


def test_a_picture_of_a_kind_that_is_not_decoded_is_refused_alone_and_fails_beside_others(http):
    problem = "the WebP is animated; a photograph is one picture"

    alone = http.post("/process", **form(("moving.webp", ANIMATED)))
    beside = http.post("/v1/process?wait=30", **form(("moving.webp", ANIMATED), picture()))

    assert alone.status_code == 422
    assert alone.json()["faults"] == [{"place": "files[0]", "problem": f"moving.webp: {problem}"}]
    assert (beside.status_code, beside.headers["X-Batch-State"]) == (207, "partial")
    report = json.loads(zipfile.ZipFile(io.BytesIO(beside.content)).read("report.json"))
    assert [image["state"] for image in report["images"]] == ["failed", "done"]
    assert problem in report["images"][0]["reasons"][0]


@pytest.mark.parametrize("path", ["/v1/session", "/v1/batches/x/replay", "/v1/batches"])
def test_json_without_end_is_cut(stack, http, path):
    memory = Memory(stack.gateway_pid)

    def endless():
        yield b'{"key": "'
        for _ in range(300):
            memory.look()
            yield NOISE

    try:
        status = http.post(path, headers={"Content-Type": "application/json"}, content=endless()).status_code
    except httpx.TransportError:
        status = None

    assert status in {413, None}
    assert memory.growth_bytes < GROWTH_BYTES


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(60))
        + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_requests_that_are_none_are_cut(stack, http, request_bytes):
    answer = raw(stack, request_bytes)

    assert answer == b"" or answer.split(b" ", 2)[1] in {b"400", b"405", b"413", b"415", b"431"}
    assert http.get("/livez").is_success


def test_a_client_that_falls_silent_is_cut_and_leaves_nothing(stack, own_gateway):
    gateway = own_gateway(MUNIFLOW_BODY_TIMEOUT_S="0.5")
    begun = ACTIONS_PART + HEAD % (b"files", b'; filename="a.jpg"') + JPEG_HEAD + NOISE[:5000]
    head = b"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    before = set((stack.folder / ".muniflow/uploads").glob("*"))

    answer = raw(gateway, head + begun)

    assert b"408" in answer.split(b"\r\n")[0]
    assert set((stack.folder / ".muniflow/uploads").glob("*")) == before


def test_a_hundred_uploads_of_ten_megabytes_at_once_hold_memory_flat(stack):
    """1 GB in all: one JPEG of 10 MB each, which the pipeline then refuses for its damaged scan."""
    memory = Memory(stack.gateway_pid)

    async def body():
        yield ACTIONS_PART + HEAD % (b"files", b'; filename="a.jpg"') + JPEG_PICTURE[: len(JPEG_PICTURE) // 2]
        for _ in range(10):
            memory.look()
            yield NOISE
        yield b"\r\n--b--\r\n"

    async def send(session):
        async with session.post(f"{stack.url}/process", data=body(), headers=CONTENT_TYPE) as answer:
            return await answer.text()

    async def all_of_them():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(send(session) for _ in range(100)))

    assert asyncio.run(all_of_them()) == ["OK"] * 100
    assert memory.growth_bytes < GROWTH_BYTES


def raw(stack, request_bytes):
    """Send bytes as they are; what comes back until the end or a pause."""
    place = urllib.parse.urlsplit(stack.url)
    with socket.create_connection((place.hostname, place.port), timeout=8) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request_bytes)
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and (received := connection.recv(65536)):
                answer += received
        except (TimeoutError, ConnectionResetError):
            pass
        return answer
