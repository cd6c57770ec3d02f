"""`muniflow schema`."""

import click

from muniflow_cli.commands.output import examples, json_option, show_json


@click.command(epilog=examples("muniflow schema > batch.schema.json", "muniflow schema report > report.schema.json"))
@click.argument("what", type=click.Choice(["batch", "report"]), default="batch")
@json_option
def command(what: str, *, as_json: bool) -> None:
    """Print the JSON Schema of a batch, with every operation that is installed here; or that of a report.

    Editors check a batch against it while it is written.
    """
    from muniflow.model.batch_schema import batch_schema
    from muniflow.model.operation import installed_operations
    from muniflow.model.report_schema import report_schema

    del as_json  # a schema is JSON anyway
    show_json(report_schema() if what == "report" else batch_schema(installed_operations()))
