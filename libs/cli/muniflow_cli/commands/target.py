"""Which stack a command talks to: the one named by variables, else the one that `muniflow up` started here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from muniflow.errors import Unavailable
from muniflow.runtime.settings import BrokerSettings, Settings, StoreSettings, read_env, variable
from muniflow_cli.stack.place import find_state
from muniflow_cli.stack.state import StackState


class ClientSettings(Settings):
    """What the command line reads beside the broker and the stores."""

    coordinator_url: str | None = None
    rabbitmq_metrics_url: str | None = None
    database_url: str | None = None


@dataclass(frozen=True)
class Target:
    """One stack."""

    found: Literal["variables", "stack.json", "defaults"]
    broker: BrokerSettings
    stores: StoreSettings
    coordinator_url: str | None
    rabbitmq_metrics_url: str | None
    database_url: str | None
    state_dir: Path
    stack: StackState | None
    """The local stack, when it runs."""

    def require_coordinator(self) -> str:
        """The base URL of the coordinator.

        Raises:
            Unavailable: none is known; the text says what to do.
        """
        if self.coordinator_url is None:
            raise Unavailable(
                "the coordinator",
                f"no stack runs with {self.state_dir}/. Start one with `muniflow up`, or name one with "
                f"{variable('coordinator_url')} and {variable('amqp_url')}",
            )
        return self.coordinator_url

    def require_broker(self) -> BrokerSettings:
        """The broker.

        Raises:
            Unavailable: none is known; the text says what to do.
        """
        if self.found == "defaults":
            raise Unavailable(
                "the broker",
                f"no stack runs with {self.state_dir}/. Start one with `muniflow up`, or name one with "
                f"{variable('amqp_url')}",
            )
        return self.broker


def find_target(env: Mapping[str, str] | None = None) -> Target:
    """Find the stack; a variable wins over `stack.json`.

    Raises:
        Invalid: a variable is wrong.
    """
    env = os.environ if env is None else env
    state_dir, state = find_state(env)
    stack = state if state is not None and state.running else None
    known = _variables_of(stack) if stack is not None else {}
    together = {**known, **{name: value for name, value in env.items() if value}}
    client = read_env(ClientSettings, together)
    named = any(env.get(variable(field)) for field in ("amqp_url", "coordinator_url"))
    return Target(
        found="variables" if named else "stack.json" if stack else "defaults",
        broker=read_env(BrokerSettings, together),
        stores=read_env(StoreSettings, together),
        coordinator_url=client.coordinator_url,
        rabbitmq_metrics_url=client.rabbitmq_metrics_url,
        database_url=client.database_url,
        state_dir=state_dir,
        stack=stack,
    )


def _variables_of(stack: StackState) -> dict[str, str]:
    values = {
        "amqp_url": stack.amqp_url,
        "coordinator_url": stack.coordinator_url,
        "rabbitmq_metrics_url": stack.rabbitmq_metrics_url,
        "database_url": stack.database_url,
        **stack.stores.model_dump(),
    }
    return {variable(field): str(value) for field, value in values.items() if value is not None}
