"""`muniflow up`."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, plain, show_json, show_table
from muniflow_cli.commands.url import without_password

if TYPE_CHECKING:
    from muniflow.runtime.settings import GatewayAddress, StoreSettings
    from muniflow_cli.stack.local import StackPlan
    from muniflow_cli.stack.state import StackState


@click.command(
    epilog=examples(
        "muniflow up --open",
        "muniflow up --workers resize=2,blur=4",
        "muniflow up --chain resize,split,blur --workers resize=2",
        "muniflow up --detach && muniflow submit examples/demo.json --wait; muniflow down",
    )
)
@click.option("--workers", default="", metavar="OP=N,…", help="Worker processes of each operation; 1 where not named.")
@click.option("--chain", "chains", multiple=True, metavar="OP,OP,…", help="One worker carries these, without a hop.")
@click.option("--gateway/--no-gateway", default=True, help="The HTTP API and the page (MUNIFLOW_GATEWAY_BIND).")
@click.option("--open", "is_open", is_flag=True, help="Serve this machine without an API key (MUNIFLOW_GATEWAY_OPEN).")
@click.option("--detach", is_flag=True, help="Go on in the background; `muniflow down` ends it.")
@json_option
def command(workers: str, chains: tuple[str, ...], *, gateway: bool, is_open: bool, detach: bool, as_json: bool) -> int:
    """Start the whole stack on this machine: RabbitMQ, the coordinator and the workers.

    A private RabbitMQ node is started unless MUNIFLOW_AMQP_URL names one that runs. Sources are read below the current
    folder (MUNIFLOW_SOURCE_URL); intermediates and outputs go to .muniflow/ there. Ledger, logs, passwords and API keys
    are kept outside of it, in ~/.local/state/muniflow/ (MUNIFLOW_STATE_DIR). A process that ends by itself is started
    again. Ctrl-C drains.
    """
    from muniflow.runtime.settings import to_env
    from muniflow_cli.stack.place import prepare

    plan = _plan(workers, chains, _gateway(is_open=is_open) if gateway else None)
    prepare(plan.state_dir, os.environ)
    if detach:
        from muniflow_cli.stack.detach import start_detached

        arguments = ["--workers", workers, *(word for chain in chains for word in ("--chain", chain))]
        arguments += [] if gateway else ["--no-gateway"]
        arguments += ["--open"] if is_open else []
        environment = {**os.environ, **to_env(plan.stores)}
        _show(start_detached(plan.state_dir, arguments, environment), plan, as_json=as_json)
        return exits.OK
    return _run(plan, as_json=as_json)


def _plan(workers: str, chains: tuple[str, ...], gateway: "GatewayAddress | None") -> "StackPlan":
    from muniflow.errors import Fault, Invalid
    from muniflow.model.operation import installed_operations
    from muniflow.runtime.settings import read_env, variable
    from muniflow.runtime.state_folder import state_folder
    from muniflow.store.open import open_stores
    from muniflow_cli.commands.target import ClientSettings
    from muniflow_cli.stack.local import StackPlan
    from muniflow_cli.stack.place import data_folder, find_state, require_outside
    from muniflow_cli.stack.plan import read_chain, read_workers, worker_groups

    operations = tuple(installed_operations())
    groups = worker_groups(read_workers(workers, operations), [read_chain(chain, operations) for chain in chains])
    folder = state_folder(os.environ).absolute()
    _, state = find_state(os.environ)
    if state is not None and state.running:
        raise Invalid(
            (Fault("", f"a stack runs here already (process {state.supervisor.pid}); end it with `muniflow down`"),)
        )
    client = read_env(ClientSettings, os.environ)
    stores = _stores(data_folder(os.environ))
    require_outside(folder, stores)
    open_stores(stores.source_url, stores.work_url, stores.output_url)
    return StackPlan(
        state_dir=folder,
        groups=groups,
        stores=stores,
        amqp_url=os.environ.get(variable("amqp_url")) or None,
        rabbitmq_metrics_url=client.rabbitmq_metrics_url,
        database_url=client.database_url,
        gateway=gateway,
        api_keys_file=Path(keys) if (keys := os.environ.get(variable("api_keys_file"))) else None,
    )


def _gateway(*, is_open: bool) -> "GatewayAddress | None":
    """Where the gateway listens, when it is installed."""
    from importlib.util import find_spec

    from muniflow.runtime.settings import GatewayAddress, read_env, variable
    from muniflow_cli.stack.plan import GATEWAY_MODULE

    if find_spec(GATEWAY_MODULE) is None:
        return None
    asked = {variable("gateway_open"): "true"} if is_open else {}
    return read_env(GatewayAddress, {**os.environ, **asked})


def _stores(folder: Path) -> "StoreSettings":
    """The stores by their variables; those that are not set are folders, given by their full path."""
    from muniflow.runtime.settings import StoreSettings, read_env, variable

    stores = read_env(StoreSettings, os.environ)
    here = {"source_url": Path(), "work_url": folder / "work", "output_url": folder / "output"}
    unset = {field: f"file://{path.resolve()}" for field, path in here.items() if not os.environ.get(variable(field))}
    return stores.model_copy(update=unset)


def _run(plan: "StackPlan", *, as_json: bool) -> int:
    from muniflow_cli.stack.local import LocalStack
    from muniflow_cli.stack.supervisor import Signals

    def say(text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)

    with Signals().installed() as signals:
        LocalStack(plan, os.environ, say, signals).run(lambda state: _show(state, plan, as_json=as_json))
    say("stopped")
    return exits.OK


def _show(state: "StackState", plan: "StackPlan", *, as_json: bool) -> None:
    if as_json:
        show_json(state)
        return
    show_table(
        "",
        ("process", "pid>", "address", "log"),
        [(plain(each.name), each.identity.pid, each.url, plain(each.log or "")) for each in state.processes],
    )
    click.echo(f"sources: {state.stores.source_url}")
    click.echo(f"outputs: {state.stores.output_url}")
    click.echo(f"state: {plan.state_dir}")
    click.echo(f"AMQP: {without_password(state.amqp_url)} (with its password: muniflow url)")
    if state.gateway_url and plan.gateway:
        click.echo(f"page and API: {state.gateway_url}{_who_is_served(plan)}")
    click.echo("ready: muniflow submit examples/demo.json --wait")


def _who_is_served(plan: "StackPlan") -> str:
    """What the address of the gateway alone does not say."""
    from muniflow_cli.stack.plan import GATEWAY_MODULE

    if plan.gateway and plan.gateway.gateway_open and not plan.keys.exists():
        return ", open to every program of this machine"
    make = f"python -m {GATEWAY_MODULE} keys make NAME --file {plan.keys}"
    open_it = "" if plan.keys.exists() else "; without keys: muniflow up --open"
    return f"\n  it asks for an API key: {make}{open_it}"
