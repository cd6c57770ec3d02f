"""What `helm test` says of a gateway: the script itself, against a gateway that answers as it is told."""

import importlib.util
import time
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType

import pytest
from tests.deploy.chart import CHART
from tests.support.http_server import LocalHandler, LocalServer


class Gateway(LocalServer):
    """Answers to `/readyz`, to a request without a key, and to each picture in turn."""

    def __init__(self) -> None:
        self.ready, self.without_key = 200, 401
        self.answers = [(200, "application/zip", b"PK")]
        self.forms: list[bytes] = []
        super().__init__(_handler(self))


def _handler(gateway: Gateway) -> type[LocalHandler]:
    class Handler(LocalHandler):
        def do_GET(self) -> None:
            self.answer(gateway.ready if self.path == "/readyz" else gateway.without_key, b"{}")

        def do_POST(self) -> None:
            gateway.forms.append(self.read_body())
            known = self.headers["Authorization"] == "Bearer secret"
            status, kind, body = gateway.answers.pop(0) if known else (401, "application/json", b"{}")
            self.answer(status, body, kind)

    return Handler


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with closing(Gateway()) as made:
        yield made


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, gateway: Gateway) -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_gateway", CHART / "files" / "test" / "gateway.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setenv("GATEWAY_URL", gateway.url)
    monkeypatch.setenv("GATEWAY_API_KEY", "secret\n")
    return module


def run(script: ModuleType, seconds: float = 5.0) -> None:
    script.try_gateway(b"picture", [["resize", "50%"]], time.monotonic() + seconds)


def test_a_picture_goes_in_and_its_output_comes_back(script, gateway, capsys):
    gateway.answers.insert(0, (202, "application/json", b"{}"))  # not yet
    gateway.answers.insert(0, (503, "application/json", b"{}"))
    run(script)
    assert "application/zip of 2 bytes came back" in capsys.readouterr().out
    assert len(gateway.forms) == 3
    assert all(b"picture" in form and b'{"operations": [["resize", "50%"]]}' in form for form in gateway.forms)


def test_without_a_key_nothing_is_sent(script, gateway, monkeypatch, capsys):
    monkeypatch.delenv("GATEWAY_API_KEY")
    run(script)
    assert "closed to who has no key" in capsys.readouterr().out
    assert gateway.forms == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ready": 503}, "is not ready: 503"),
        ({"without_key": 200}, "without a key the gateway answers 200, not 401"),
        ({"answers": [(422, "application/json", b"{}")]}, "through the gateway: 422"),
        ({"answers": [(200, "text/html", b"<html>")]}, "through the gateway: 200 text/html"),
        ({"answers": [(200, "image/png", b"")]}, "through the gateway: 200 image/png"),
    ],
)
def test_a_gateway_that_is_not_as_it_should_be_fails_the_test(script, gateway, change, why):
    for name, value in change.items():
        setattr(gateway, name, value)
    with pytest.raises(SystemExit, match=why):
        run(script, 0.2)


def test_a_key_that_the_gateway_never_takes_fails_in_time(script, monkeypatch):
    monkeypatch.setenv("GATEWAY_API_KEY", "another")
    with pytest.raises(SystemExit, match="through the gateway: 401"):
        run(script, 0.2)
