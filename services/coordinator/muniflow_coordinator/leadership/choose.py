"""Which claim a process makes, from its settings."""

import socket
from pathlib import Path

from muniflow.errors import Fault, Invalid
from muniflow_coordinator.leadership.advisory import AdvisoryLock
from muniflow_coordinator.leadership.file_lock import FileLock
from muniflow_coordinator.leadership.lease import in_cluster
from muniflow_coordinator.leadership.types import Lock
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.opening import is_sqlite, parse_database_url


def lock_of(settings: CoordinatorSettings) -> Lock:
    """The claim that these settings ask for; nothing is asked or opened yet.

    Raises:
        Invalid: they do not fit together, or this is not a place for them.
    """
    url = parse_database_url(settings.database_url)
    if is_sqlite(url):
        if settings.leader_election == "lease":
            problem = "lease needs PostgreSQL: several pods cannot share a file of SQLite"
            raise Invalid((Fault("MUNIFLOW_LEADER_ELECTION", problem),))
        return FileLock(Path(url.database or "").absolute())
    if settings.leader_election == "lease":
        return in_cluster(settings.lease_name, settings.lease_namespace, settings.pod_name or socket.gethostname())
    return AdvisoryLock(url)
