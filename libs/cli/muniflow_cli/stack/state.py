"""What runs on this machine, written down so that every command finds it without settings."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from muniflow.runtime.settings import StoreSettings
from muniflow.runtime.whole_text import write_text_whole
from muniflow_cli.stack.processes import ProcessIdentity, is_running

STATE_FILE = "stack.json"
Role = Literal["gateway", "worker", "coordinator", "broker", "epmd"]


class ProcessState(BaseModel):
    """One process of the stack."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    identity: ProcessIdentity
    url: str | None = None
    """Base of `/metrics`, `/livez` and `/readyz`."""
    log: str | None = None
    restarts: int = 0
    """How many times it ended by itself and was started again."""


class StackState(BaseModel):
    """A stack that was started here."""

    model_config = ConfigDict(frozen=True)

    supervisor: ProcessIdentity
    ready: bool = False
    amqp_url: str
    coordinator_url: str
    gateway_url: str | None = None
    """Base of the HTTP API and of the page; `None` without a gateway."""
    rabbitmq_metrics_url: str | None = None
    rabbitmqctl: str | None = None
    """The command that administers the stack's own broker; `None` when somebody else runs the broker."""
    database_url: str
    stores: StoreSettings
    processes: tuple[ProcessState, ...] = ()

    @property
    def running(self) -> bool:
        """Whether its supervisor still runs."""
        return is_running(self.supervisor)

    @property
    def left(self) -> tuple[ProcessState, ...]:
        """Its processes that still run."""
        return tuple(process for process in self.processes if is_running(process.identity))


def read_state(folder: Path) -> StackState | None:
    """The stack that was started with this folder, running or not; `None` when there is none."""
    try:
        return StackState.model_validate_json((folder / STATE_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        # Written by another version, or truncated by a full disk: not usable.
        return None


def write_state(folder: Path, state: StackState) -> None:
    """Write it whole or not at all, for its owner only: the broker's address holds a password."""
    write_text_whole(folder / STATE_FILE, state.model_dump_json(indent=2))


def forget_state(folder: Path) -> None:
    """The stack is stopped."""
    (folder / STATE_FILE).unlink(missing_ok=True)
