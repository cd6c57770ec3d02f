"""Who is served: gateway processes with key files that come, break and go. They need neither broker nor coordinator."""

import re
import socket
import subprocess
import sys
import time
from functools import partial

import pytest
from tests.integration.gateway.help import OwnGateway, own_gateways
from tests.integration.stacks import clean_environment
from tests.support import web
from tests.support.waiting import eventually

from muniflow_cli.stack.ports import free_ports
from muniflow_gateway.auth.api_keys import make_key, revoke_key

pytestmark = pytest.mark.timeout(120)
OPEN = {"MUNIFLOW_GATEWAY_OPEN": "true"}
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via", "CF-Connecting-IP")
MAKE_ONE = "python -m muniflow_gateway keys make NAME"
FOLLOWED_S = 60.0
"""A gateway looks at its key file once a second."""


def environment():
    (nobody,) = free_ports(1)
    return {**clean_environment(), "MUNIFLOW_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{nobody}/%2F"}


@pytest.fixture
def gateway(tmp_path):
    """Starts gateways whose key file is `tmp_path / "keys"`; all are ended after the test."""
    keys = {"MUNIFLOW_API_KEYS_FILE": str(tmp_path / "keys")}
    with own_gateways(environment(), tmp_path, OwnGateway.answers) as start:
        yield lambda **variables: start(**{**keys, **variables})


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """One without keys that is open, for tests that only ask it."""
    with own_gateways(environment(), tmp_path_factory.mktemp("open"), OwnGateway.answers) as start:
        yield start(**OPEN)


def ask(gateway, secret=None, **headers):
    """Status and detail of a request that needs nobody but the gateway."""
    headers |= {"Authorization": f"Bearer {secret}"} if secret else {}
    answer = web.get(f"{gateway.url}/v1/operations", headers=headers)
    return answer.status_code, answer.json().get("detail", "")


def answers_with(gateway, status, secret):
    return ask(gateway, secret)[0] == status


def stays(status, *gateways, secret=None, at_least_s=1.5):
    """It is so from the moment they follow a change of the file, and stays so."""
    for gateway in gateways:
        eventually(partial(answers_with, gateway, status, secret), FOLLOWED_S)
    end_s = time.monotonic() + at_least_s
    while time.monotonic() < end_s:
        assert {ask(gateway, secret)[0] for gateway in gateways} == {status}
        time.sleep(0.1)


def test_without_keys_nobody_is_served_and_it_says_what_to_do(gateway):
    closed = gateway()

    status, detail = ask(closed)

    assert status == 401
    assert MAKE_ONE in detail
    assert "MUNIFLOW_GATEWAY_OPEN=true" in detail
    refused = web.post(f"{closed.url}/v1/session", json={"key": "x"})
    assert (refused.status_code, MAKE_ONE in refused.json()["detail"]) == (401, True)
    assert web.get(f"{closed.url}/livez").status_code == 200
    assert re.search(r"WARNING.*nobody is served.*MUNIFLOW_GATEWAY_OPEN=true", closed.log.read_text())


def test_open_is_said_at_start(opened):
    assert ask(opened) == (200, "")
    assert re.search(r"WARNING.*MUNIFLOW_GATEWAY_OPEN=true.*without an API key", opened.log.read_text())


def test_who_loses_the_keys_is_closed(gateway, tmp_path):
    """Whether it was told to be open or not."""
    path = tmp_path / "keys"
    secret = make_key(path, "utrecht")
    both = [gateway(), gateway(**OPEN)]
    losses = (
        lambda: revoke_key(path, "utrecht"),
        lambda: path.rename(tmp_path / "elsewhere"),
        lambda: path.write_text(""),
    )

    for lose in losses:
        stays(200, *both, secret=secret, at_least_s=0)
        assert {ask(served)[0] for served in both} == {401}
        lose()
        stays(401, *both, secret=secret, at_least_s=0)
        stays(401, *both)
        path.unlink(missing_ok=True)
        secret = make_key(path, "utrecht")
    for served in both:
        assert served.log.read_text().count("no API key is left") >= len(losses)


def test_a_file_without_keys_stays_closed_at_the_next_start(gateway, tmp_path):
    path = tmp_path / "keys"
    make_key(path, "utrecht")
    revoke_key(path, "utrecht")

    status, detail = ask(gateway(**OPEN))

    assert status == 401
    assert MAKE_ONE in detail


def test_a_key_file_that_comes_closes_what_was_open(gateway, tmp_path):
    opened = gateway(**OPEN)
    assert ask(opened)[0] == 200

    (tmp_path / "keys").write_text("{")
    stays(401, opened)
    (tmp_path / "keys").unlink()
    stays(401, opened)


def test_a_file_that_breaks_keeps_the_keys_and_opens_nothing(gateway, tmp_path):
    path = tmp_path / "keys"
    secret = make_key(path, "utrecht")
    served = gateway(**OPEN)

    path.write_bytes(b"\xff{")
    eventually(lambda: ask(served)[0] == 401 and "API keys stay as they were" in served.log.read_text(), FOLLOWED_S)
    assert ask(served, secret)[0] == 200


def start_badly(tmp_path, **variables):
    return subprocess.run(
        [sys.executable, "-m", "muniflow_gateway"],
        env={**environment(), "MUNIFLOW_API_KEYS_FILE": str(tmp_path / "keys"), **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_it_does_not_start_with_a_file_that_it_cannot_read(tmp_path):
    (tmp_path / "keys").mkdir()

    done = start_badly(tmp_path, **OPEN)

    assert done.returncode == 2
    assert str(tmp_path / "keys") in done.stderr
    assert "Traceback" not in done.stderr


def test_it_does_not_start_open_where_others_reach_it(tmp_path):
    done = start_badly(tmp_path, MUNIFLOW_GATEWAY_BIND=":8080", **OPEN)

    assert done.returncode == 2
    assert done.stderr.startswith("MUNIFLOW_GATEWAY_OPEN: ")
    assert "MUNIFLOW_GATEWAY_BIND=:8080" in done.stderr


def test_a_forwarded_request_is_never_a_local_one(opened):
    for header in FORWARDED:
        status, detail = ask(opened, **{header: "127.0.0.1"})
        assert (header, status) == (header, 401)
        assert header.casefold() in detail
        assert MAKE_ONE in detail
    assert ask(opened) == (200, "")

    # As a proxy speaks that adds nothing.
    address = ("127.0.0.1", int(opened.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET /v1/operations HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert b" 401 " in answer.partition(b"\r\n")[0]
    assert b"HTTP/1.0" in answer


def test_a_forwarded_request_with_a_key_is_served(gateway, tmp_path):
    secret = make_key(tmp_path / "keys", "utrecht")

    assert ask(gateway(**OPEN), secret, **{"X-Forwarded-For": "192.0.2.7", "Host": "images.example"})[0] == 200
