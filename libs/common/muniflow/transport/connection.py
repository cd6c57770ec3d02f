"""Connections to RabbitMQ: their parameters, their failures in words, and grouped writes."""

import contextlib
import logging
import random
import re
import ssl
from collections.abc import Iterator
from typing import Any

from pika import PlainCredentials, SSLOptions, URLParameters
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorPhaseErrorBase,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    ChannelClosed,
    ConnectionBlockedTimeout,
    ConnectionClosed,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from muniflow.errors import Fault, Invalid
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.loop import Loop
from muniflow.runtime.settings import BrokerSettings, read_again

CLOSE_TIMEOUT_S = 5.0
"""Time for the broker's answer to a close; a blocked broker never answers."""
FIRST_PAUSE_S = 0.2
NOT_FOUND, PRECONDITION_FAILED = 404, 406
NODES = re.compile(r"(?P<before>amqps?://(?:[^/?#]*@)?)(?P<hosts>[^/?#]*)(?P<after>.*)")
"""The URL of a broker; its hosts are separated by commas. `urlsplit` refuses lists with IPv6 addresses."""

logger = logging.getLogger(__name__)


class GroupedConnection(SelectConnection):
    """pika's connection, with many frames in one write to the socket.

    pika writes each frame by itself, three for a message. `_adapter_emit_data` and `_adapter_disconnect_stream` are the
    two methods by which pika's core talks to an adapter such as this one: the same since 1.0, not in its stubs.
    """

    _grouped: list[bytes] | None = None

    @contextlib.contextmanager
    def one_write(self) -> Iterator[None]:
        """Keep the frames of the block and write them at its end. Nothing else runs meanwhile: it is one callback."""
        if self._grouped is not None:  # inside another group already
            yield
            return
        self._grouped = []
        try:
            yield
        finally:
            frames, self._grouped = self._grouped, None
            if frames:
                super()._adapter_emit_data(b"".join(frames))  # type: ignore[misc]

    @property
    def received_bytes(self) -> int:
        """So far."""
        return int(self.bytes_received)  # type: ignore[attr-defined]

    @property
    def heartbeat_s(self) -> float:
        """As agreed with the broker; 0: none."""
        agreed = self.params.heartbeat
        return float(agreed) if isinstance(agreed, int) else 0.0

    def abort(self) -> None:
        """Close the socket without AMQP's close."""
        if not self.is_closed:
            self._adapter_disconnect_stream()  # type: ignore[attr-defined]

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._grouped is None:
            super()._adapter_emit_data(data)  # type: ignore[misc]
        else:
            self._grouped.append(data)


def each_node(settings: BrokerSettings) -> tuple[BrokerSettings, ...]:
    """Settings that name one node each, for every host of the URL, in its order.

    `amqp://user:password@a:5672,b:5672/vhost` names two; user, virtual host and options are those of all.

    Raises:
        Invalid: the URL is not one of a broker, or a file of the settings cannot be read.
    """
    settings = read_again(settings)
    parts = NODES.fullmatch(settings.amqp_url)
    if parts is None:
        raise Invalid((Fault("MUNIFLOW_AMQP_URL", "write amqp://user:password@host:5672/vhost, or amqps:// for TLS"),))
    hosts = parts["hosts"].split(",")
    if len(hosts) > 1 and not all(hosts):
        raise Invalid((Fault("MUNIFLOW_AMQP_URL", "a host is empty: write amqp://user:password@a:5672,b:5672/vhost"),))
    urls = (f"{parts['before']}{host}{parts['after']}" for host in hosts)
    # They are read already: read again, each would name every host.
    return tuple(settings.model_copy(update={"amqp_url": url, "secrets_dir": None}) for url in urls)


def nodes_of(settings: BrokerSettings, name: str, seed: int | None = None) -> list[URLParameters]:
    """The parameters for pika of each node of the URL, in random order, so that processes spread over a cluster.

    Args:
        settings: whose URL names one host or more.
        name: what RabbitMQ shows for the connection.
        seed: of the order, for whoever asks more than once; random where it is left out.

    Raises:
        Invalid: the URL is not one of a broker, or a file of the settings cannot be read.
    """
    nodes = [_parameters(node, name) for node in each_node(settings)]
    return random.Random(seed).sample(nodes, len(nodes))  # noqa: S311 - not for secrets


def user_of(settings: BrokerSettings) -> str | None:
    """The user of the broker whom messages of this process may name as their sender; `None`: nobody.

    Raises:
        Invalid: the URL is not one of a broker.
    """
    return user_at(nodes_of(settings, "")[0], settings)


def user_at(node: URLParameters, settings: BrokerSettings) -> str | None:
    """The same where the settings are read already; every node has the same user."""
    return getattr(node.credentials, "username", None) if settings.amqp_user_id else None


def place_of(parameters: URLParameters) -> str:
    """A node, for people."""
    return f"{parameters.host}:{parameters.port}"


def _parameters(settings: BrokerSettings, name: str) -> URLParameters:
    try:
        parameters = URLParameters(settings.amqp_url)
    except (ValueError, TypeError) as error:
        raise Invalid((Fault("MUNIFLOW_AMQP_URL", f"not the URL of a broker: {error}"),)) from None
    _sign_in(parameters, settings)
    parameters.heartbeat = settings.heartbeat_s
    parameters.blocked_connection_timeout = settings.blocked_timeout_s
    parameters.socket_timeout = settings.connect_timeout_s
    parameters.stack_timeout = settings.connect_timeout_s
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": name, "product": "muniflow"}
    return parameters


def _sign_in(parameters: URLParameters, settings: BrokerSettings) -> None:
    """Put in what the settings name beside the URL."""
    if settings.amqp_username is not None or settings.amqp_password is not None:
        own = parameters.credentials
        parameters.credentials = PlainCredentials(
            settings.amqp_username if settings.amqp_username is not None else getattr(own, "username", ""),
            settings.amqp_password if settings.amqp_password is not None else getattr(own, "password", ""),
        )
    if settings.amqp_ca_file is None:
        return
    if parameters.ssl_options is None:
        raise Invalid((Fault("MUNIFLOW_AMQP_CA_FILE", "is for TLS: write amqps:// in MUNIFLOW_AMQP_URL"),))
    try:
        context = ssl.create_default_context(cafile=settings.amqp_ca_file)
    except OSError as error:
        raise Invalid(
            (Fault("MUNIFLOW_AMQP_CA_FILE", f"cannot read {settings.amqp_ca_file}: {_text(error)}"),)
        ) from None
    parameters.ssl_options = SSLOptions(context, parameters.host)


def shut(connection: GroupedConnection, loop: Loop) -> None:
    """Close an open connection, by force when the broker does not answer; otherwise do nothing.

    One that is still opening is left to open or to fail, which takes at most `connect_timeout_s`: pika 1.4 raises an
    `AssertionError` out of the loop when it is closed in the middle of its handshake.
    """
    if connection.is_open:
        connection.close()
        loop.call_later(CLOSE_TIMEOUT_S, connection.abort)


def pause_s(attempt: int, longest_s: float, share: float | None = None, nodes: int = 1) -> float:
    """The pause before attempt `attempt` (from 1) to connect again: doubling, with jitter, up to `longest_s`.

    With several nodes it doubles once a round; from one node to the next of a round it is the first, short one.

    Args:
        attempt: 1-based number of the attempt since the last success.
        longest_s: upper bound, in seconds.
        share: 0 to 1, the place in the jitter; random where it is left out.
        nodes: how many are asked in turn.
    """
    # Jitter, so that a hundred pods do not come back to a restarted broker at the same moment.
    jitter = random.random() if share is None else share  # noqa: S311 - not for secrets
    rounds, rest = divmod(attempt, nodes)
    return doubling_s(1 if rest else rounds, FIRST_PAUSE_S, longest_s) * (0.5 + 0.5 * jitter)


def describe(error: BaseException, parameters: URLParameters) -> str:
    """One line for a person: what went wrong with the broker at `parameters`, and what to look at."""
    error = _cause(error)
    place = place_of(parameters)
    match error:
        case ProbableAuthenticationError():
            user = getattr(parameters.credentials, "username", "?")
            return f"RabbitMQ at {place} refused the user {user!r} or its password: check MUNIFLOW_AMQP_URL"
        case ProbableAccessDeniedError():
            return (
                f"RabbitMQ at {place} gives no access to the virtual host {parameters.virtual_host!r}: {_text(error)}"
            )
        case IncompatibleProtocolError():
            return f"what answers at {place} does not speak AMQP 0-9-1 (TLS needs amqps://): {_text(error)}"
        # A connection that still opens is aborted only by pika's own `stack_timeout`: see `shut`.
        case AMQPConnectorStackTimeout() | ConnectionOpenAborted() | AMQPHeartbeatTimeout():
            return f"RabbitMQ at {place} was silent for longer than {_silence(error, parameters)}"
        case ConnectionBlockedTimeout():
            return f"RabbitMQ at {place} blocked the connection (memory or disk alarm) for too long"
        case ChannelClosed() if error.reply_code == PRECONDITION_FAILED and "inequivalent arg" in error.reply_text:
            return (
                f"a queue or exchange exists with other settings ({error.reply_text}): "
                "empty it, delete it, and it is made anew"
            )
        case ChannelClosed() | ConnectionClosed():
            return f"RabbitMQ at {place} closed the connection: {error.reply_text} ({error.reply_code})"
        case ssl.SSLError():
            return _describe_tls(error, place)
        case StreamLostError():
            return f"the connection to RabbitMQ at {place} was cut"
        case _:
            return f"cannot connect to RabbitMQ at {place}: {_text(error)}"


def _silence(error: BaseException, parameters: URLParameters) -> str:
    return "two heartbeats" if isinstance(error, AMQPHeartbeatTimeout) else f"{parameters.stack_timeout:g} s"


def _describe_tls(error: ssl.SSLError, place: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"RabbitMQ at {place} has a certificate that is not trusted here ({_text(error)}): give its CA, "
            "MUNIFLOW_AMQP_CA_FILE=/path/ca.pem"
        )
    return f"what answers at {place} does not speak TLS as we do (without TLS it is amqp://): {_text(error)}"


def _cause(error: BaseException) -> BaseException:
    """The innermost error with a text: pika wraps errors of the socket up to three times."""
    inner: Any = None
    match error:
        case AMQPConnectionWorkflowFailed():
            inner = error.exceptions[-1] if error.exceptions else None
        case AMQPConnectorPhaseErrorBase():
            inner = error.exception
        case AMQPConnectionError() if type(error) is AMQPConnectionError and error.args:
            inner = error.args[0]
    return _cause(inner) if isinstance(inner, BaseException) else error


def _text(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError() if hasattr(error, "verify_message"):
            return error.verify_message
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error) or type(error).__name__
