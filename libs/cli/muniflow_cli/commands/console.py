"""`muniflow console`."""

from typing import Any

import click

from muniflow_cli.commands.output import examples, json_option, show_json

NAMES = {
    "target": "the stack: broker, stores, addresses",
    "coordinator": "its HTTP interface: coordinator.batches(), coordinator.batch('demo')",
    "operations": "the installed operations, by name",
    "read_batch": "read_batch(text, operations) checks a batch",
    "source": "the source store: list(source.list('examples/'))",
    "output": "the output store",
}


@click.command(epilog=examples("muniflow console", "echo 'print(list(operations))' | muniflow console"))
@json_option
def command(*, as_json: bool) -> None:
    """Open a Python console with the library loaded and the settings of the stack.

    --json prints the settings instead, without the broker's password.
    """
    import code
    import contextlib

    from muniflow_cli.commands.target import find_target

    target = find_target()
    if as_json:
        show_json({"found": target.found, "coordinator": target.coordinator_url, "stores": target.stores.model_dump()})
        return
    names = namespace()
    width = max(map(len, NAMES))
    lines = [f"  {name:<{width}}  {text}" for name, text in NAMES.items() if name in names]
    banner = f"muniflow: settings from {target.found}\n" + "\n".join(lines)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives the console its history and keys
    code.interact(banner=banner, local=names, exitmsg="")


def namespace() -> dict[str, Any]:
    """What the console starts with."""
    import muniflow
    from muniflow.model.batch import read_batch
    from muniflow.model.operation import installed_operations
    from muniflow.store.open import open_store
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.target import find_target

    target = find_target()
    names: dict[str, Any] = {
        "muniflow": muniflow,
        "target": target,
        "operations": installed_operations(),
        "read_batch": read_batch,
        "source": open_store(target.stores.source_url),
        "output": open_store(target.stores.output_url),
    }
    if target.coordinator_url is not None:
        names["coordinator"] = CoordinatorApi(target.coordinator_url)
    return names
