"""A standby passes questions on to the one that works, over real HTTP; and answers itself where nobody else can."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, RootModel

from muniflow.errors import Invalid, Rejected
from muniflow.runtime.http import HttpServer, Query, Route, match
from muniflow.testing.virtual_time import VirtualClock
from muniflow_coordinator.leadership.peers import PAUSE_S, Peers, own_url, path_of

Told = RootModel[dict[str, Any]]


class Node:
    """A coordinator reduced to what it is asked: it says who it is."""

    def __init__(self, name: str, ledger: "Ledger") -> None:
        self.name = name
        self.ledger = ledger
        self.asked: list[tuple[tuple[str, ...], dict[str, str]]] = []
        self.peers: Peers | None = None
        self.server = HttpServer("127.0.0.1:0", CollectorRegistry(), self._routes(), live=bool, ready=lambda: None)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.peers = Peers(self.url, lambda: self.ledger.holder, lambda: self.ledger.leader is self, self.ledger.clock)

    def _routes(self) -> Mapping[str, Route]:
        def late(query: Query, parts: tuple[str, ...]) -> BaseModel | None:
            assert self.peers is not None
            return self.peers.routes({"/v1/batches/*": self.own})["/v1/batches/*"](query, parts)

        return {"/v1/batches/*": late}

    def own(self, query: Query, parts: tuple[str, ...]) -> BaseModel | None:
        self.asked.append((parts, dict(query)))
        if parts == ("unknown",):
            return None
        if parts == ("bad",):
            raise Rejected("limit: write a number")
        return Told({"by": self.name})

    def lead(self) -> None:
        assert self.peers is not None
        self.ledger.leader, self.ledger.holder = self, self.peers.signature(f"{self.name} 7")

    def get(self, path: str) -> tuple[int, bytes]:
        status, _, body = self.server.reply(path)
        return int(status), body


class Ledger:
    """Who took over last, and a clock that the test moves."""

    def __init__(self) -> None:
        self.leader: Node | None = None
        self.holder = ""
        self.clock = VirtualClock()


@contextmanager
def nodes() -> Iterator[tuple[Node, Node]]:
    ledger = Ledger()
    with ExitStack() as stack:
        pair = Node("a", ledger), Node("b", ledger)
        for node in pair:
            stack.enter_context(node.server)
        yield pair


def test_a_standby_gives_the_answer_of_the_one_that_works() -> None:
    with nodes() as (leader, standby):
        leader.lead()
        assert standby.get("/v1/batches/x%2Fy?limit=5") == (200, b'{"by":"a"}')
        assert leader.asked == [(("x/y",), {"limit": "5", "passed_on": "1"})]
        assert standby.asked == []
        assert leader.get("/v1/batches/x") == (200, b'{"by":"a"}')
        standby.lead()
        assert leader.get("/v1/batches/x") == (200, b'{"by":"b"}')


def test_what_the_leader_refuses_is_refused_the_same_way() -> None:
    with nodes() as (leader, standby):
        leader.lead()
        for path in ("/v1/batches/unknown", "/v1/batches/bad"):
            assert standby.get(path) == leader.get(path)


def test_nobody_passes_a_question_on_twice() -> None:
    with nodes() as (first, second):
        first.lead()
        first.ledger.leader = None  # it stepped down; the ledger still names it
        assert second.get("/v1/batches/x") == (200, b'{"by":"a"}')
        assert first.get("/v1/batches/x") == (200, b'{"by":"a"}')
        assert len(first.asked) == 2


def test_two_that_name_each_other_do_not_ask_in_circles() -> None:
    with nodes() as (first, second):
        second.ledger = Ledger()  # one of them reads the row a moment before it changes
        first.ledger.holder, second.ledger.holder = f"b 7 {second.url}", f"a 7 {first.url}"
        assert first.get("/v1/batches/x") == (200, b'{"by":"b"}')
        assert (len(first.asked), len(second.asked)) == (0, 1)


def test_while_nobody_works_a_standby_answers_itself() -> None:
    with nodes() as (_, standby):
        assert standby.get("/v1/batches/x") == (200, b'{"by":"b"}')
        standby.ledger.holder = "pod-0 7"  # one that has no address
        assert standby.get("/v1/batches/x") == (200, b'{"by":"b"}')


def test_a_frozen_leader_delays_one_answer_not_each() -> None:
    with nodes() as (_, standby), socket.create_server(("127.0.0.1", 0)) as frozen:
        frozen.setblocking(False)
        standby.ledger.holder = f"a 7 http://127.0.0.1:{frozen.getsockname()[1]}"
        for _ in range(3):
            assert standby.get("/v1/batches/x") == (200, b'{"by":"b"}')
        frozen.accept()[0].close()
        with pytest.raises(BlockingIOError):
            frozen.accept()
        standby.ledger.clock.advance_to(PAUSE_S)
        standby.get("/v1/batches/x")
        frozen.accept()[0].close()


def test_without_an_address_nothing_is_passed_on() -> None:
    routes: dict[str, Route] = {"/v1/info": lambda _query, _parts: None}
    peers = Peers(None, lambda: "a 7 http://127.0.0.1:1", lambda: False, VirtualClock())
    assert peers.routes(routes) is routes
    assert peers.signature("b 7") == "b 7"


@pytest.mark.parametrize(
    ("host", "bind", "url"),
    [
        (None, "127.0.0.1:0", None),
        ("", "127.0.0.1:0", None),
        ("10.1.2.3", "0.0.0.0:9100", "http://10.1.2.3:9100"),
        ("fd00::7", ":9100", "http://[fd00::7]:9100"),
    ],
)
def test_the_address_for_others_is_the_host_with_the_port_of_the_server(
    host: str | None, bind: str, url: str | None
) -> None:
    assert own_url(host, bind) == url


def test_an_address_needs_a_port_that_is_fixed() -> None:
    with pytest.raises(Invalid, match="MUNIFLOW_PEER_HOST: needs a port"):
        own_url("10.1.2.3", "0.0.0.0:0")


@given(st.text(min_size=1))
def test_a_path_is_what_was_taken_apart(part: str) -> None:
    pattern = "/v1/batches/*/images"
    assert match(pattern, path_of(pattern, (part,))) == (part,)
