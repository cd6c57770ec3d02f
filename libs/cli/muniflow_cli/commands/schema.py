"""`muniflow schema`."""

import click

from muniflow_cli.commands.output import examples, json_option, show_json


@click.command(epilog=examples("muniflow schema > batch.schema.json"))
@json_option
def command(*, as_json: bool) -> None:
    """Print the JSON Schema of a batch, with every operation that is installed here.

    Editors check a batch against it while it is written.
    """
    from muniflow.model.batch import batch_schema
    from muniflow.model.operation import installed_operations

    del as_json  # a schema is JSON anyway
    show_json(batch_schema(installed_operations()))
