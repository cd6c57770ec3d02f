"""AMQP over TLS: a real handshake with a certificate of our own, and what is said when it fails."""

import datetime as dt
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.contract.test_private_broker import needs_server
from tests.contract.transport_harness import Peer, RabbitHarness, run_until, small_topology, stop_all, work_queue

from muniflow.errors import Unavailable
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import OutgoingMessage
from muniflow.transport.admin import delete_queues, queue_depths
from muniflow_cli.stack.broker import PrivateBroker

pytestmark = needs_server


@dataclass(frozen=True)
class TlsNode:
    """A node that speaks TLS on a port of its own."""

    node: PrivateBroker
    port: int
    authority: Path
    other_authority: Path

    def url(self, authority: Path | None, host: str = "127.0.0.1") -> str:
        options = "" if authority is None else "?ssl_options=" + quote(repr({"ca_certs": str(authority)}))
        return f"amqps://muniflow:{self.node.identity.password}@{host}:{self.port}/%2F{options}"


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 alone, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    home = Path(tmp_path_factory.mktemp("tls"))
    certificate, key = write_certificate(home, "broker")
    other, _ = write_certificate(home, "other")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / "conf.d").mkdir()
    (home / "conf.d" / "tls.conf").write_text(
        f"listeners.ssl.1 = 127.0.0.1:{port}\n"
        f"ssl_options.cacertfile = {certificate}\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
        "ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n"
    )
    node = PrivateBroker(home)
    node.start()
    yield TlsNode(node, port, certificate, other)
    node.kill()


def test_messages_over_tls(tls: TlsNode) -> None:
    settings = BrokerSettings(amqp_url=tls.url(tls.authority))
    harness = RabbitHarness(settings)  # its proxy stands between: TLS sees 127.0.0.1 all the same
    peer = Peer(harness, small_topology(harness.name)).ready()
    work = work_queue(harness.name)
    assert peer.publish_and_wait(*[OutgoingMessage(work, b"x" * 100_000)] * 20) is None
    peer.consume(work, 50)
    assert {delivery.body for delivery in peer.wait_for(20)} == {b"x" * 100_000}
    assert queue_depths(settings, [work])[work].consumers == 1
    stop_all(harness, [peer])
    harness.proxy.close()
    harness.loop.close()
    delete_queues(settings, [queue.name for queue in small_topology(harness.name).queues])


@pytest.mark.parametrize(
    ("authority", "host", "expected"),
    [
        ("other", "127.0.0.1", "has a certificate that is not trusted here"),
        (None, "127.0.0.1", "has a certificate that is not trusted here"),
        ("right", "localhost", "not valid for 'localhost'"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_one_clear_line(
    tls: TlsNode, authority: str | None, host: str, expected: str
) -> None:
    file = {"other": tls.other_authority, "right": tls.authority, None: None}[authority]
    said = reason_of(tls.url(file, host))
    assert expected in said
    assert "MUNIFLOW_AMQP_CA_FILE=" in said


def test_tls_where_none_is_spoken_and_the_other_way_round(tls: TlsNode) -> None:
    plain = tls.node.identity.amqp_port
    assert "does not speak TLS" in reason_of(tls.url(tls.authority).replace(f":{tls.port}/", f":{plain}/"))
    crossed = tls.node.amqp_url.replace(f":{plain}/", f":{tls.port}/")
    assert "TLS" in reason_of(crossed)


def reason_of(url: str) -> str:
    """Why it does not connect: the same line from the transport and from the command line's way."""
    settings = BrokerSettings(amqp_url=url, connect_timeout_s=5.0, reconnect_max_s=0.5)
    with pytest.raises(Unavailable) as caught:
        queue_depths(settings, [])
    harness = RabbitHarness(settings)
    harness.settings = settings
    peer = Peer(harness, small_topology(harness.name)).start()
    run_until(harness, lambda: peer.transport.disconnect_reason not in {None, "connecting"}, "told")
    said = peer.transport.disconnect_reason or ""
    stop_all(harness, [peer])
    harness.proxy.close()
    harness.loop.close()
    assert "\n" not in said
    assert said in str(caught.value)
    return said
