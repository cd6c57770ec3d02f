"""Chooses the leader lock by the settings."""

import socket
from pathlib import Path

from muniflow.errors import Fault, Invalid
from muniflow.runtime.clock import Clock
from muniflow_coordinator.leadership.advisory import AdvisoryLock
from muniflow_coordinator.leadership.file_lock import FileLock
from muniflow_coordinator.leadership.lease import in_cluster
from muniflow_coordinator.leadership.types import Lock
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.opening import is_sqlite, parse_database_url


def lock_of(settings: CoordinatorSettings, clock: Clock) -> Lock:
    """Return the lock that the settings ask for; connects to nothing yet.

    Raises:
        Invalid: the settings contradict each other, or do not work here.
    """
    url = parse_database_url(settings.database_url)
    if is_sqlite(url):
        if settings.leader_election == "lease":
            problem = "lease needs PostgreSQL: several pods cannot share a file of SQLite"
            raise Invalid((Fault("MUNIFLOW_LEADER_ELECTION", problem),))
        return FileLock(Path(url.database or "").absolute())
    if settings.leader_election == "lease":
        identity = settings.pod_name or socket.gethostname()
        return in_cluster(settings.lease_name, settings.lease_namespace, identity, clock)
    return AdvisoryLock(url)
