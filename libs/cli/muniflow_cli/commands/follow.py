"""Following a batch to its end through the coordinator."""

import time
from collections.abc import Callable

from muniflow.errors import Unavailable
from muniflow.model.api import BatchStatus
from muniflow.model.messages import TERMINAL
from muniflow_cli.commands.client import CoordinatorApi
from muniflow_cli.commands.progress import Display, snapshot_of

POLL_S = 0.25
MAX_AWAY_S = 60.0
"""How long the coordinator may be away (it starts again, say) before following ends."""


def follow(
    coordinator: CoordinatorApi, batch: str, display: Display, wait: Callable[[float], None] = time.sleep
) -> BatchStatus:
    """Show the progress of a batch until it is terminal; returns its last status.

    Raises:
        NotFound: the coordinator does not know it.
        Unavailable: the coordinator was away for too long. The batch goes on all the same.
    """
    seen_at_s = time.monotonic()
    while True:
        try:
            status = coordinator.batch(batch)
        except Unavailable:
            if time.monotonic() - seen_at_s > MAX_AWAY_S:
                raise
        else:
            seen_at_s = time.monotonic()
            display.show(snapshot_of(status))
            if status.state in TERMINAL:
                return status
        wait(POLL_S)
