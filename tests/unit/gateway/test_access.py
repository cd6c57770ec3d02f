import pytest
from starlette.requests import Request

from muniflow_gateway.access import COOKIE, Access, is_loopback
from muniflow_gateway.keys import KeyRing, make_key
from muniflow_gateway.problems import Problem
from muniflow_gateway.quotas import Quotas
from muniflow_gateway.settings import GatewaySettings

HOST = {"host": "localhost:8080"}


def request(**headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {**HOST, **headers}.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "client": ("127.0.0.1", 1)})


def access(path, *, loopback=True):
    return Access(KeyRing(path), Quotas(GatewaySettings()), loopback=loopback)


@pytest.fixture
def no_keys(tmp_path):
    return tmp_path / "none"


@pytest.fixture
def keyed(tmp_path):
    path = tmp_path / "keys"
    return path, make_key(path, "utrecht")


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({}, "POST", None),
        ({"host": "127.0.0.1:8080"}, "POST", None),
        ({"host": "[::1]:8080"}, "GET", None),
        ({"host": "evil.example"}, "GET", 403),
        ({"host": "[["}, "GET", 403),
        ({"origin": "http://localhost:8080", "sec_fetch_site": "same-origin"}, "POST", None),
        ({"origin": "http://evil.example"}, "POST", 403),
        ({"origin": "null"}, "DELETE", 403),
        ({"sec_fetch_site": "cross-site"}, "POST", 403),
        ({"sec_fetch_site": "cross-site"}, "GET", None),
    ],
)
def test_without_keys_this_machine_is_served_and_no_other_site(no_keys, headers, method, status):
    check = access(no_keys)

    if status is None:
        assert check.caller(request(**headers), method).name == "local"
    else:
        with pytest.raises(Problem) as refused:
            check.caller(request(**headers), method)
        assert refused.value.status == status


def test_without_keys_nobody_is_served_from_elsewhere(no_keys):
    with pytest.raises(Problem) as refused:
        access(no_keys, loopback=False).caller(request(), "GET")

    assert refused.value.status == 401


def test_a_key_opens_by_either_header_and_by_cookie(keyed):
    path, secret = keyed
    check = access(path, loopback=False)

    assert check.caller(request(authorization=f"Bearer {secret}", host="any.example"), "POST").name == "utrecht"
    assert check.caller(request(x_api_key=secret), "POST").name == "utrecht"
    assert check.caller(request(cookie=f"{COOKIE}={secret}"), "GET").name == "utrecht"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        {"x_api_key": "\xff"},
        {"cookie": f"{COOKIE}=x"},
        {"authorization": "x"},
    ],
)
def test_with_keys_nothing_else_opens(keyed, headers):
    with pytest.raises(Problem) as refused:
        access(keyed[0]).caller(request(**headers), "GET")

    assert refused.value.status == 401
    assert "WWW-Authenticate" in refused.value.headers


def test_another_site_cannot_use_the_cookie(keyed):
    path, secret = keyed
    headers = {"cookie": f"{COOKIE}={secret}", "origin": "http://evil.example"}

    with pytest.raises(Problem) as refused:
        access(path).caller(request(**headers), "POST")

    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("192.0.2.1", False), ("", False), ("10.0.0.1", False)],
)
def test_which_addresses_are_this_machine_only(host, local):
    assert is_loopback(host) is local
