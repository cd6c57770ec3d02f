"""Requests at the same time by key and address, and whose address counts."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from muniflow_gateway.auth.addresses import ClientAddresses, one_client
from muniflow_gateway.auth.slots import RequestSlots
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings


def request(peer, *forwarded):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return HTTPConnection({"type": "http", "client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # anybody may write the header
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 203.0.113.9"], "203.0.113.9"),  # what its client wrote is before it
        ("10.0.0.1", ["198.51.100.7", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),  # a chain of our proxies
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_the_address_of_a_client(peer, forwarded, address):
    assert ClientAddresses("10.0.0.0/8").of(request(peer, *forwarded)) == address


def test_without_trusted_proxies_the_connection_counts():
    assert ClientAddresses("").of(request("10.0.0.1", "198.51.100.7")) == "10.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.0/99", "ingress", "10.0.0.1/8"])
def test_what_is_no_network_is_said(text):
    with pytest.raises(ValueError, match="write networks with commas"):
        GatewaySettings(trusted_proxies=text)


def test_an_ipv6_network_is_one_client():
    assert one_client("2001:db8::1") == one_client("2001:db8::ffff:2") != one_client("2001:db8:0:1::1")
    assert one_client("192.0.2.1") == "192.0.2.1"


def test_a_slot_is_free_again_after_its_request():
    slots = RequestSlots(GatewaySettings(max_requests_per_key=2))
    scopes: tuple[dict[str, Any], ...] = ({}, {}, {})
    first, second, third = scopes
    slots.take_for_key(first, "utrecht")
    slots.take_for_key(first, "utrecht")  # one request is counted once
    slots.take_for_key(second, "utrecht")
    slots.take_for_key({}, "delft")
    with pytest.raises(Problem, match="MUNIFLOW_MAX_REQUESTS_PER_KEY"):
        slots.take_for_key(third, "utrecht")
    slots.leave(third)
    slots.leave(first)
    slots.leave(first)
    slots.take_for_key(third, "utrecht")


def test_addresses_are_counted_where_the_operator_says_so():
    slots = RequestSlots(GatewaySettings())
    for _ in range(1000):
        slots.take_for_address({}, "192.0.2.1")
    slots = RequestSlots(GatewaySettings(max_connections_per_address=1))
    slots.take_for_address({}, "192.0.2.1")
    with pytest.raises(Problem, match="MUNIFLOW_MAX_CONNECTIONS_PER_ADDRESS"):
        slots.take_for_address({}, "192.0.2.1")
