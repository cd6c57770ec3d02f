"""`muniflow stages`."""

from typing import TYPE_CHECKING, Any

import click

from muniflow_cli.commands.output import duration, examples, json_option, number, plain, rate, show_json, show_table

if TYPE_CHECKING:
    from muniflow.model.api import Deployment, StageStatus
    from muniflow_cli.commands.replicas import Replicas


@click.command(epilog=examples("muniflow stages", "muniflow stages --context my-cluster --namespace muniflow"))
@click.option("--context", metavar="NAME", help="Ask this cluster of the kubeconfig for replicas, too.")
@click.option("--namespace", metavar="NAME", help="Namespace of muniflow there.")
@json_option
def command(context: str | None, namespace: str | None, *, as_json: bool) -> None:
    """Show each step's stage: backlog, consumers, dead letters, rate, and the time to drain.

    Then the work ahead and the replicas wanted and running of each Deployment of workers. In a cluster (or with
    --context or --namespace) also the replicas that its autoscalers want, and those that are ready.
    """
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.cluster import in_cluster
    from muniflow_cli.commands.replicas import read_replicas
    from muniflow_cli.commands.target import find_target

    answer = CoordinatorApi(find_target().require_coordinator()).stages()
    stages = answer.stages
    clustered = context is not None or namespace is not None or in_cluster()
    replicas = read_replicas(context, namespace) if clustered else None
    if as_json:
        deployments = [deployment.model_dump(mode="json") for deployment in answer.deployments]
        show_json({"stages": [_document(stage, replicas) for stage in stages], "deployments": deployments})
        return
    columns = ["step", "ready>", "unacked>", "consumers>", "dead>", "rate>", "per task>", "drained in>"]
    show_table(
        "",
        columns + (["wanted>", "up>"] if replicas is not None else []),
        (_row(stage) + (_replica_cells(stage, replicas) if replicas is not None else []) for stage in stages),
    )
    if answer.deployments:
        columns = ["workers", "steps", "work ahead>", "wanted>", "running>"]
        show_table("", columns, map(_deployment_row, answer.deployments))


def _deployment_row(deployment: "Deployment") -> list[str]:
    return [
        plain(deployment.name), plain(", ".join(deployment.operations)), duration(deployment.remaining_work_s),
        number(deployment.wanted), number(deployment.running),
    ]  # fmt: skip


def _row(stage: "StageStatus") -> list[str]:
    service = None if stage.service_s is None else f"{stage.service_s * 1000:.1f} ms"
    return [
        plain(stage.op), number(stage.ready), number(stage.unacked), number(stage.consumers), number(stage.dead),
        rate(stage.rate_tasks_per_s), service or "", duration(stage.drain_s),
    ]  # fmt: skip


def _replica_cells(stage: "StageStatus", replicas: "dict[str, Replicas]") -> list[str]:
    found = replicas.get(stage.op)
    return ["", ""] if found is None else [number(found.wanted), number(found.ready)]


def _document(stage: "StageStatus", replicas: "dict[str, Replicas] | None") -> dict[str, Any]:
    document: dict[str, Any] = stage.model_dump(mode="json")
    if replicas is not None and (found := replicas.get(stage.op)) is not None:
        document |= {"replicas_wanted": found.wanted, "replicas_ready": found.ready}
    return document
