"""`muniflow doctor`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, plain, show_json, show_table

if TYPE_CHECKING:
    from muniflow_cli.commands.findings import Finding
    from muniflow_cli.commands.target import Target

STYLES = {"ok": "green", "warning": "yellow", "error": "red bold"}


@click.command(
    epilog=examples(
        "muniflow doctor",
        "muniflow doctor --context my-cluster --namespace imagery",
        "muniflow doctor --json | jq '.[] | select(.level == \"error\")'",
    )
)
@click.option("--context", metavar="NAME", help="Look at the pods in this cluster of the kubeconfig first.")
@click.option("--namespace", metavar="NAME", help="Namespace of muniflow there.")
@click.option("--fix", is_flag=True, help="Make queues anew that exist with other arguments; keep what is in them.")
@json_option
def command(context: str | None, namespace: str | None, *, fix: bool, as_json: bool) -> int:
    """Check the broker, the stores, the coordinator and the limits, and say what to do about each finding.

    With --context or --namespace also what pods wait for: an image that cannot be pulled, a node. Nothing is changed
    without --fix.
    The exit code is 1 when there is an error; warnings alone are 0.
    """
    from muniflow_cli.commands.check_cluster import check_cluster
    from muniflow_cli.commands.findings import worst
    from muniflow_cli.commands.target import find_target

    target = find_target()
    if fix:
        _renew_queues(target)
    clustered = context is not None or namespace is not None
    findings = check_cluster(context, namespace) if clustered else []
    findings += diagnose(target)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        show_table(
            "",
            ("", "check", "found", "what to do"),
            [
                (f"[{STYLES[each.level]}]{each.level}[/]", plain(each.check), plain(each.what), plain(each.to_do))
                for each in findings
            ],
        )
    return exits.FAILED if worst(findings) == "error" else exits.OK


def _renew_queues(target: "Target") -> None:
    from muniflow.model.operation import installed_operations
    from muniflow.model.topology import topology
    from muniflow.transport.move import renew

    for queue, count in renew(target.require_broker(), topology(installed_operations())).items():
        click.echo(f"made anew: {queue}, with the {count} messages that were in it", err=True)


def diagnose(target: "Target") -> "list[Finding]":
    """All findings about a stack, in the order in which they are shown."""
    from muniflow.model.operation import installed_operations
    from muniflow.model.topology import topology
    from muniflow_cli.commands.check_broker import check_broker
    from muniflow_cli.commands.check_here import (
        check_alarms,
        check_coordinator,
        check_database,
        check_failures,
        check_limits,
        check_operations,
        check_stores,
    )
    from muniflow_cli.commands.remedies import remedies_of

    remedies = remedies_of(target)
    operations = installed_operations()
    return [
        *check_operations(operations),
        *check_broker(target.broker, topology(operations), remedies),
        *check_alarms(target.rabbitmq_metrics_url, remedies),
        *check_coordinator(target, remedies),
        *check_failures(target),
        *check_database(target.database_url),
        *check_stores(target.stores),
        *check_limits(target.stores),
    ]
