"""The Kubernetes Lease, against a small API server on 127.0.0.1 that keeps versions and refuses conflicts."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.support.http_server import LocalHandler, LocalServer

from muniflow.errors import Unavailable
from muniflow.testing.virtual_time import VirtualClock
from muniflow_coordinator.leadership.lease import DURATION_S, Lease, LeaseName

BASE = "/apis/coordination.k8s.io/v1/namespaces/space/leases"


class ApiServer(LocalServer):
    """The lease endpoints: GET, POST, PUT with `resourceVersion`."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.broken = False
        self.between: list[Any] = []
        """Called before the next write: somebody else is faster."""
        self._version = 0
        self._lock = threading.Lock()
        super().__init__(_handler(self))

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if self.broken:
            return 500, {"message": "etcd is away"}
        if method != "GET" and self.between:
            self.between.pop()()
        with self._lock:
            if method == "POST" and path == BASE and body is not None:
                return self._create(body)
            if path != f"{BASE}/leader" or self.lease is None:
                return 404, {"reason": "NotFound"}
            if method == "PUT" and body is not None:
                if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                    return 409, {"reason": "Conflict"}
                self._keep(body)
            return 200, self.lease

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.lease is not None:
            return 409, {"reason": "AlreadyExists"}
        return 201, self._keep(body)

    def _keep(self, body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.lease = body
        return body


def _handler(server: ApiServer) -> type[LocalHandler]:
    class Handler(LocalHandler):
        def _serve(self) -> None:
            sent = self.read_body()
            status, answer = server.answer(
                self.command, self.path.partition("?")[0], json.loads(sent) if sent else None
            )
            self.answer(status, json.dumps(answer).encode())

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - names of the standard library

    return Handler


class Cluster:
    """Pods that ask one API server, and a clock that the test moves."""

    def __init__(self) -> None:
        self.server = ApiServer()
        self.clock = VirtualClock()
        self._clients: list[Any] = []

    def pod(self, name: str) -> Lease:
        from kubernetes import client

        configuration = client.Configuration(host=self.server.url)
        configuration.retries = False
        made = client.ApiClient(configuration)
        self._clients.append(made)
        return Lease(client.CoordinationV1Api(made), LeaseName("space", "leader", name), self.clock)

    def close(self) -> None:
        for made in self._clients:
            made.rest_client.pool_manager.clear()
        self.server.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster()) as made:
        yield made


def spec(cluster: Cluster) -> dict[str, Any]:
    assert cluster.server.lease is not None
    found: dict[str, Any] = cluster.server.lease["spec"]
    return found


def test_the_first_pod_gets_the_lease_and_renews_it(cluster: Cluster) -> None:
    first, second = cluster.pod("a"), cluster.pod("b")
    assert first.acquire()
    assert not second.acquire()
    assert second.holder == "a"
    before = spec(cluster)["renewTime"]
    cluster.clock.advance_to(1)
    assert first.renew()
    assert spec(cluster)["renewTime"] > before
    assert (spec(cluster)["holderIdentity"], spec(cluster)["leaseDurationSeconds"]) == ("a", DURATION_S)
    assert not second.renew()


def test_a_lease_that_is_not_renewed_is_taken_over(cluster: Cluster) -> None:
    first, second = cluster.pod("a"), cluster.pod("b")
    assert first.acquire()
    assert not second.acquire()
    cluster.clock.advance_to(DURATION_S - 0.5)
    assert not second.acquire()
    assert first.renew()
    cluster.clock.advance_to(2 * DURATION_S - 1)
    assert not second.acquire(), "it has changed, so its time begins anew"
    cluster.clock.advance_to(4 * DURATION_S)
    assert second.acquire()
    assert spec(cluster)["leaseTransitions"] == 1
    assert not first.renew()


def test_a_lease_that_is_given_up_is_free_at_once(cluster: Cluster) -> None:
    first, second = cluster.pod("a"), cluster.pod("b")
    assert first.acquire()
    first.release()
    assert second.acquire()
    first.release()
    assert spec(cluster)["holderIdentity"] == "b", "who does not have it cannot give it up"


def test_a_pod_that_starts_again_goes_on_with_its_lease(cluster: Cluster) -> None:
    assert cluster.pod("a").acquire()
    assert cluster.pod("a").acquire()


def test_of_two_who_try_at_once_one_gets_it(cluster: Cluster) -> None:
    first, second, third = (cluster.pod(name) for name in "abc")
    cluster.server.between.append(second.acquire)
    assert not first.acquire(), "both saw that there was none"
    assert spec(cluster)["holderIdentity"] == "b"
    second.release()
    cluster.server.between.append(third.acquire)
    assert not first.acquire(), "both saw that it was free"
    assert spec(cluster)["holderIdentity"] == "c"


def test_trouble_of_the_api_server_is_unavailable(cluster: Cluster) -> None:
    pod = cluster.pod("a")
    assert pod.acquire()
    cluster.server.broken = True
    with pytest.raises(Unavailable, match="the API server answered 500"):
        pod.renew()
    pod.release()
    cluster.server.broken = False
    assert pod.renew()


def test_an_api_server_that_is_not_there_is_unavailable(cluster: Cluster) -> None:
    pod = cluster.pod("a")
    cluster.server.close()
    with pytest.raises(Unavailable, match="the API server does not answer"):
        pod.acquire()
    cluster.server = ApiServer()
