"""The leader lock on Kubernetes: a `Lease`, renewed while its holder lives."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.runtime.clock import Clock

DURATION_S = 12
TIMEOUT_S = 3.0
"""For one request to the API server."""
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class LeaseName:
    """The name of a lease, and who asks for it."""

    namespace: str
    name: str
    identity: str
    """The name of the pod."""


class Lease:
    """A `Lock` by a `coordination.k8s.io/v1` Lease.

    Clocks of different nodes are never compared: a standby takes the lease over when it saw no change of it for the
    lease's duration. Of two that try at once the API server accepts one, by `resourceVersion`.
    """

    poll_s = 1.0
    renew_s = 5.0
    valid_s = 10.0  # less than DURATION_S, which begins at the API server a little later than here

    def __init__(self, api: Any, name: LeaseName, clock: Clock) -> None:
        """Ask `api`, a `kubernetes.client.CoordinationV1Api`."""
        self._api = api
        self._name = name
        self._clock = clock
        self._seen: tuple[str, float] | None = None
        """The last version of the lease, and when it was first seen, in monotonic seconds."""
        self._holder: str | None = None

    @property
    def holder(self) -> str | None:
        """Return the holder, as of the last read."""
        return self._holder

    def acquire(self) -> bool:
        """Take it if it is free, has expired, or was ours before a restart of this process."""
        lease = self._read()
        if lease is None:
            return self._create()
        self._holder = lease.spec.holder_identity or None
        if self._holder not in {None, self._name.identity} and not self._expired(lease):
            return False
        return self._replace(lease, self._name.identity)

    def renew(self) -> bool:
        """Renew it, unless another process holds it now."""
        lease = self._read()
        if lease is None or lease.spec.holder_identity != self._name.identity:
            return False
        return self._replace(lease, self._name.identity)

    def release(self) -> None:
        """Give it up, so that the next holder need not wait until it expires."""
        with contextlib.suppress(Unavailable):
            lease = self._read()
            if lease is not None and lease.spec.holder_identity == self._name.identity:
                self._replace(lease, "")

    def _expired(self, lease: Any) -> bool:
        now_s = self._clock.monotonic_s()
        version = str(lease.metadata.resource_version)
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now_s)
        return now_s - self._seen[1] > (lease.spec.lease_duration_seconds or DURATION_S)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_s(), UTC)

    def _read(self) -> Any:
        return self._ask(
            lambda: self._api.read_namespaced_lease(self._name.name, self._name.namespace, _request_timeout=TIMEOUT_S),
            HTTPStatus.NOT_FOUND,
        )

    def _create(self) -> bool:
        from kubernetes.client import V1Lease, V1LeaseSpec, V1ObjectMeta

        now = self._now()
        spec = V1LeaseSpec(
            holder_identity=self._name.identity,
            lease_duration_seconds=DURATION_S,
            acquire_time=now,
            renew_time=now,
            lease_transitions=0,
        )
        body = V1Lease(metadata=V1ObjectMeta(name=self._name.name, namespace=self._name.namespace), spec=spec)
        made = self._ask(
            lambda: self._api.create_namespaced_lease(self._name.namespace, body, _request_timeout=TIMEOUT_S),
            HTTPStatus.CONFLICT,
        )
        return made is not None

    def _replace(self, lease: Any, identity: str) -> bool:
        """Write it back with new times and `identity`; `False` if another process was faster."""
        spec = lease.spec
        spec.renew_time = self._now()
        if spec.holder_identity != identity:
            spec.acquire_time = spec.renew_time
            spec.lease_transitions = (spec.lease_transitions or 0) + 1
        spec.holder_identity = identity
        spec.lease_duration_seconds = DURATION_S
        written = self._ask(
            lambda: self._api.replace_namespaced_lease(
                self._name.name, self._name.namespace, lease, _request_timeout=TIMEOUT_S
            ),
            HTTPStatus.CONFLICT,
        )
        return written is not None

    def _ask(self, request: Callable[[], Any], no: HTTPStatus) -> Any:
        """Return the answer; `None` if its status is `no`."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return request()
        except ApiException as error:
            if error.status == no:
                return None
            raise Unavailable("the lease", f"the API server answered {error.status} {error.reason}") from error
        except (HTTPError, OSError) as error:
            raise Unavailable("the lease", f"the API server does not answer: {type(error).__name__}") from error


def in_cluster(name: str, namespace: str | None, identity: str, clock: Clock) -> Lease:
    """Return the lease `name` in `namespace`, or in the namespace of this pod.

    Raises:
        Invalid: this is not a pod with a service account's token, or the package `kubernetes` is missing.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise _invalid("needs the package: pip install 'muniflow-coordinator[kubernetes]'") from None
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
        space = namespace or NAMESPACE_FILE.read_text().strip()
    except (config.ConfigException, OSError) as error:
        raise _invalid(f"lease works only in a pod that has its service account's token: {error}") from None
    configuration = client.Configuration.get_default_copy()
    configuration.retries = False  # we ask again ourselves, in time
    api = client.CoordinationV1Api(client.ApiClient(configuration))
    return Lease(api, LeaseName(space, name, identity), clock)


def _invalid(problem: str) -> Invalid:
    return Invalid((Fault("MUNIFLOW_LEADER_ELECTION", problem),))
