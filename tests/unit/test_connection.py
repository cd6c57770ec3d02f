"""Failures of a broker in words, and the pauses between attempts."""

import inspect
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorSocketConnectError
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from muniflow.errors import Invalid
from muniflow.model.topology import DELIVERY_LIMIT
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.connection import GroupedConnection, describe, nodes_of, pause_s, user_of

SETTINGS = BrokerSettings(amqp_url="amqp://ann:secret@broker:5672/city")
INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'muniflow.events' in vhost '/'"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProbableAuthenticationError(ConnectionClosedByBroker(403, "no")), "refused the user 'ann'"),
        (ProbableAccessDeniedError(ConnectionClosedByBroker(530, "no")), "no access to the virtual host 'city'"),
        (IncompatibleProtocolError("odd"), "does not speak AMQP 0-9-1"),
        (AMQPHeartbeatTimeout("late"), "was silent for longer than two heartbeats"),
        (ConnectionOpenAborted("Timeout while setting up AMQP"), "was silent for longer than 10 s"),
        (ConnectionBlockedTimeout("late"), "memory or disk alarm"),
        (StreamLostError("reset"), "was cut"),
        (ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED"), "a certificate that is not trusted here"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "does not speak TLS"),
        (ConnectionClosedByBroker(320, "CONNECTION_FORCED - bye"), "closed the connection: CONNECTION_FORCED - bye"),
        (ChannelClosedByBroker(406, INEQUIVALENT), "'muniflow.events'"),
        (ChannelClosedByBroker(404, "NOT_FOUND - no exchange 'x'"), "no exchange 'x'"),
        (
            AMQPConnectionError(
                AMQPConnectionWorkflowFailed(
                    [AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))]
                )
            ),
            "cannot connect to RabbitMQ at broker:5672: Connection refused",
        ),
        (
            AMQPConnectionWorkflowFailed([socket.gaierror(-2, "Name or service not known")]),
            "broker:5672: Name or service not known",
        ),
    ],
)
def test_an_error_in_one_line(error, expected):
    text = describe(error, nodes_of(SETTINGS, "test")[0])
    assert expected in text
    assert "\n" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "url", ["", "http://broker", "broker:5672", "amqp://broker:port/", "amqp://a,,b/", "amqp://a,b:c/"]
)
def test_what_is_no_url_of_a_broker(url):
    with pytest.raises(Invalid, match="MUNIFLOW_AMQP_URL"):
        nodes_of(BrokerSettings(amqp_url=url), "test")


def test_the_settings_reach_pika():
    settings = BrokerSettings(amqp_url="amqps://ann:secret@broker/%2F", heartbeat_s=12, blocked_timeout_s=34.0)
    parameters = nodes_of(settings, "worker")[0]
    assert (parameters.heartbeat, parameters.blocked_connection_timeout, parameters.port) == (12, 34.0, 5671)
    assert parameters.ssl_options is not None
    assert (parameters.client_properties or {})["connection_name"] == "worker"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://ann:a,b@one", [("one", 5672)]),
        ("amqp://ann:a,b@one:1,two:2/city?heartbeat=9", [("one", 1), ("two", 2)]),
        ("amqps://one,two:2,[fe80::1]:3,[::1]/city", [("one", 5671), ("two", 2), ("fe80::1", 3), ("::1", 5671)]),
    ],
)
def test_a_url_may_name_the_nodes_of_a_cluster(url, expected):
    nodes = nodes_of(BrokerSettings(amqp_url=url), "test")
    assert sorted((node.host, node.port) for node in nodes) == sorted(expected)
    assert len({(vars(node.credentials)["password"], node.virtual_host, bool(node.ssl_options)) for node in nodes}) == 1
    assert user_of(BrokerSettings(amqp_url=url)) == ("ann" if "ann" in url else "guest")


def test_each_process_has_an_order_of_its_own():
    settings = BrokerSettings(amqp_url="amqp://one,two,three")
    assert len({tuple(node.host for node in nodes_of(settings, "test")) for _ in range(200)}) > 1
    assert len({tuple(node.host for node in nodes_of(settings, "test", seed=7)) for _ in range(200)}) == 1


def test_with_several_nodes_a_pause_doubles_after_each_round():
    pauses_s = [pause_s(attempt, 15.0, 1.0, nodes=3) for attempt in range(1, 10)]
    assert pauses_s == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.2, 0.4, 0.2, 0.2, 0.8])


@pytest.mark.parametrize(
    ("attempt", "share", "expected_s"), [(1, 1.0, 0.2), (2, 1.0, 0.4), (4, 0.0, 0.8), (9, 1.0, 15.0), (900, 0.0, 7.5)]
)
def test_pauses_double_up_to_the_limit(attempt, share, expected_s):
    assert pause_s(attempt, 15.0, share) == pytest.approx(expected_s)


@given(attempt=st.integers(1, 10_000), longest_s=st.floats(0.1, 600), nodes=st.integers(1, 9))
def test_a_pause_is_never_none_and_never_too_long(attempt, longest_s, nodes):
    assert 0 < pause_s(attempt, longest_s, nodes=nodes) <= longest_s


@pytest.mark.parametrize(
    ("method", "parameters"), [("_adapter_emit_data", ["self", "data"]), ("_adapter_disconnect_stream", ["self"])]
)
def test_pika_still_has_the_two_methods_that_we_build_on(method, parameters):
    hint = f"pika has changed {method}: look at GroupedConnection anew, or pin pika"
    assert hasattr(SelectConnection, method), hint
    assert list(inspect.signature(getattr(SelectConnection, method)).parameters) == parameters, hint


def test_pika_hands_every_frame_to_the_method_that_groups_them(monkeypatch):
    written = []
    monkeypatch.setattr(SelectConnection, "_adapter_emit_data", lambda _self, data: written.append(data))
    connection: Any = GroupedConnection.__new__(GroupedConnection)
    for name, value in {"bytes_sent": 0, "frames_sent": 0}.items():
        setattr(connection, name, value)
    with connection.one_write():
        connection._output_marshaled_frames([b"a", b"b"])
        with connection.one_write():
            connection._output_marshaled_frames([b"c"])
        assert written == [], "kept until the end of the block"
    connection._output_marshaled_frames([b"d"])
    assert written == [b"abc", b"d"]


def test_an_alarm_of_days_does_not_use_up_the_deliveries_of_what_a_worker_holds():
    """Each blocked timeout gives everything back, and the broker counts it as delivered in vain."""
    assert BrokerSettings().blocked_timeout_s * DELIVERY_LIMIT > 7 * 86_400
