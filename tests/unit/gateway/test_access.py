import pytest
from starlette.requests import Request

from muniflow_gateway.auth.access import COOKIE, Access, mode_of, why_not_local
from muniflow_gateway.auth.api_keys import KeyRing, make_key
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings

HOST = {"host": "localhost:8080"}


def request(**headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {**HOST, **headers}.items()]
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": raw}
    return Request({**scope, "client": ("127.0.0.1", 1)})


def access(path, *, asked_open=False):
    return Access(KeyRing(path), GatewaySettings(gateway_open=asked_open))


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
def test_open_serves_this_machine_and_no_other_site(no_keys, headers, method, status):
    check = access(no_keys, asked_open=True)

    if status is None:
        assert check.caller(request(**headers), method).name == "local"
    else:
        with pytest.raises(Problem) as refused:
            check.caller(request(**headers), method)
        assert refused.value.status == status


def test_without_keys_nobody_is_served(no_keys):
    with pytest.raises(Problem, match="MUNIFLOW_GATEWAY_OPEN=true") as refused:
        access(no_keys).caller(request(), "GET")

    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("asked_open", "file_used", "keys", "mode"),
    [
        (False, False, 0, "closed"),
        (False, True, 0, "closed"),
        (False, True, 1, "keys"),
        (True, False, 0, "open"),
        (True, True, 0, "closed"),
        (True, True, 1, "keys"),
        (True, False, 1, "keys"),
    ],
)
def test_whom_a_gateway_serves(asked_open, file_used, keys, mode):
    assert mode_of(asked_open=asked_open, file_used=file_used, keys=keys) == mode


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, None),
        ({"peer": "::1", "host": "[::1]:8080"}, None),
        ({"peer": "127.8.9.1", "host": "localhost"}, None),
        ({"headers": ("host", "accept", "x-api-key", "x-requested-with", "idempotency-key", "viable", "te")}, None),
        ({"peer": "192.0.2.1"}, 401),
        ({"peer": ""}, 401),
        ({"peer": "localhost.example"}, 401),
        ({"http_version": "1.0"}, 401),
        ({"host": "evil.example"}, 403),
        ({"host": ""}, 403),
        *[
            ({"headers": ("host", name)}, 401)
            for name in (
                "forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded", "x-forwarded-client-cert",
                "x-real-ip", "x-client-ip", "client-ip", "true-client-ip", "x-cluster-client-ip", "fastly-client-ip",
                "cf-connecting-ip", "cf-ray", "cdn-loop", "x-original-forwarded-for", "x-envoy-external-address",
                "x-arr-ssl", "x-azure-clientip", "x-appengine-user-ip", "x-proxyuser-ip",
            )
        ],
    ],
)  # fmt: skip
def test_what_is_a_request_of_this_machine(changes, status):
    asked = {"peer": "127.0.0.1", "http_version": "1.1", "host": "localhost:8080", "headers": ("host",), **changes}

    refusal = why_not_local(**asked)

    assert (refusal and refusal.status) == status


def test_without_an_address_at_the_other_end_it_is_not_local(no_keys):
    asked = request()
    asked.scope["client"] = None

    with pytest.raises(Problem, match="another machine"):
        access(no_keys, asked_open=True).caller(asked, "GET")


def test_a_key_opens_by_either_header_and_by_cookie(keyed):
    path, secret = keyed
    check = access(path)

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
        access(keyed[0], asked_open=True).caller(request(**headers), "GET")

    assert refused.value.status == 401
    assert "WWW-Authenticate" in refused.value.headers


def test_another_site_cannot_use_the_cookie(keyed):
    path, secret = keyed
    headers = {"cookie": f"{COOKIE}={secret}", "origin": "http://evil.example"}

    with pytest.raises(Problem) as refused:
        access(path).caller(request(**headers), "POST")

    assert refused.value.status == 403
