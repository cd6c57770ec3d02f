"""The AsyncAPI 3.0 document of the queues, made of the topology and the messages' models."""

from typing import Any

import yaml

from muniflow import __version__
from muniflow.model.audit import AuditEntry
from muniflow.model.batch_document import BATCH_EXAMPLE
from muniflow.model.batch_schema import batch_schema
from muniflow.model.messages import (
    Command,
    Encoding,
    Events,
    Message,
    Notice,
    RawRef,
    RouteStep,
    Settled,
    Tally,
    Task,
    Tile,
)
from muniflow.model.operation import installed_operations
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.model.topology import (
    AUDIT,
    BATCHES,
    CHANGES,
    CONTROL,
    EVENTS,
    EXCHANGE,
    LOST,
    NOTIFY_EXCHANGE,
    ONGOING,
    PROGRESS,
    SKIPPED,
    dead_queue,
    exchange_to,
    express_queue,
    notice_key,
    step_queue,
)

BLOB = "utrecht-2026-11/0/2/0-1-whole.raw"
TASK_EXAMPLE = Task(
    batch="utrecht-2026-11",
    image=2,
    source="examples/images/coffee.png",
    stem="coffee",
    destination="utrecht-2026-11",
    encoding=Encoding(format="jpg"),
    route=(
        RouteStep(op="resize", params={"width": 200, "height": 300, "fit": "exact"}),
        RouteStep(op="split", params={"columns": 2, "rows": 2}, fan_out=4),
        RouteStep(op="blur", params={"method": "gaussian", "kernel": 5, "sigma": 0.0}),
    ),
    step=2,
    tiles=tuple(
        Tile(
            lineage=((place, 4),),
            pixels=RawRef(key=BLOB, width_px=100, height_px=150, stride_bytes=600, offset_bytes=offset),
        )
        for place, offset in enumerate((0, 300, 90_000, 90_300))
    ),
    published_at=1795339815.25,
)
EXAMPLES: dict[type[Message], Message] = {
    Task: TASK_EXAMPLE,
    Events: Events(
        settled=(Settled(batch="utrecht-2026-11", image=2, lineage=((2, 4),)),),
        tallies=(Tally(batch="utrecht-2026-11", step=2, done=1, pixels=15000, compute_s=0.002),),
    ),
    Command: Command(action="reopen", batch="utrecht-2026-11", image=2),
    AuditEntry: AuditEntry(
        id="download-3f9c2a1b",
        at=1795339999.5,
        action="download",
        owner="utrecht",
        by="utrecht-screen",
        origin="10.1.2.3",
        batch="utrecht-2026-11",
    ),
    Notice: Notice(
        batch="utrecht-2026-11", state="done", total=6, done=6, report="utrecht-2026-11/report.json", at=1795339999.5
    ),
}
QUEUE_BINDING = {"durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}


def document() -> dict[str, Any]:
    """The whole document."""
    schemas: dict[str, Any] = {}
    messages = {"batch": _batch_message(schemas)}
    for model, example in EXAMPLES.items():
        messages[model.__name__.lower()] = _message(model, example, schemas)
    steps = {name: step_queue(name) for name in installed_operations()}
    channels = {
        "batches": _queue(BATCHES, "batch", "Batches to run; whoever publishes here needs no other interface."),
        "events": _queue(EVENTS, "events", "What step workers tell the coordinator."),
        "control": _queue(CONTROL, "command", "What people ask of the coordinator."),
        "audit": _queue(AUDIT, "auditentry", "What gateways tell of the audit trail."),
        "lost": _queue(LOST, "task", "A copy of each task that the broker gave up on."),
        "notify": _topic(),
    }
    for name, queue in steps.items():
        channels[f"step-{name}"] = _queue(queue, "task", f"Tasks of the operation `{name}`.")
        express = f"Tasks of the operation `{name}` that workers take first: of small batches."
        channels[f"step-{name}-express"] = _queue(express_queue(name), "task", express)
        channels[f"step-{name}-dead"] = _queue(
            dead_queue(queue), "task", f"Forged tasks for `{name}`, and those that the broker gave up."
        )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "muniflow: the queues",
            "version": __version__,
            "description": "Messages are small JSON; pixels never travel in one. Publish persistent, mandatory and "
            "confirmed, by the exchange that a channel names, with your user as `user_id`: what workers tell counts "
            "only with it. The examples can be sent as they stand to a stack in the folder of the repository. Queues "
            "are durable quorum queues (`muniflow.model.topology`). Unknown fields are refused.",
        },
        "servers": {"broker": {"host": "localhost:5672", "protocol": "amqp", "description": "RabbitMQ 3.10 to 4.x"}},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": _operations(tuple(steps)),
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def as_yaml() -> str:
    """The document as it stands in `docs/`."""
    return "# Written by tools/asyncapi; do not edit.\n" + yaml.dump(
        document(), sort_keys=False, allow_unicode=True, width=110
    )


def _queue(name: str, message: str, description: str) -> dict[str, Any]:
    return {
        "address": name,
        "description": f"{description} By the exchange `{exchange_to(name)}`.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"amqp": {"is": "queue", "queue": {"name": name, **QUEUE_BINDING}, "bindingVersion": "0.3.0"}},
    }


def _topic() -> dict[str, Any]:
    exchange = {"name": NOTIFY_EXCHANGE, "type": "topic", "durable": True, "autoDelete": False, "vhost": "/"}
    return {
        "address": notice_key("{event}", DEFAULT_OWNER),
        "description": f"Changes in the life of batches: bind a queue to the exchange `{NOTIFY_EXCHANGE}`. "
        f"Of an owner other than `{DEFAULT_OWNER}` the key is `{notice_key('{event}', '{owner}')}`.",
        "parameters": {
            "event": {
                "enum": [*CHANGES, *ONGOING],
                "description": f"`{PROGRESS}`: 5% more of its images are settled, or one more after 10 s; `{SKIPPED}`: "
                "files below its source that are no images; both with the state `running`. `running`: failed images of "
                "a batch that had ended run again. Bind `batch.<event>.#` for each event that you want.",
            },
        },
        "messages": {"notice": {"$ref": "#/components/messages/notice"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _operations(steps: tuple[str, ...]) -> dict[str, Any]:
    """From the side of muniflow: it receives batches and commands, and sends notices."""
    found = {
        "takeBatch": ("receive", "batches", f"Hand in a batch, by the exchange `{EXCHANGE}` and the queue's name."),
        "takeCommand": ("receive", "control", "Cancel a batch, or run its failed images again."),
        "takeAudit": ("receive", "audit", "Keep an entry of the audit trail; only a gateway's user is believed."),
        "takeEvents": ("receive", "events", "The coordinator settles images."),
        "takeLost": ("receive", "lost", "The coordinator settles images whose task was given up on."),
        "tell": ("send", "notify", "The coordinator tells of a batch."),
        **{f"run-{name}": ("receive", f"step-{name}", f"A worker runs `{name}`.") for name in steps},
    }  # fmt: skip
    return {
        name: {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}
        for name, (action, channel, summary) in found.items()
    }


def _batch_message(schemas: dict[str, Any]) -> dict[str, Any]:
    schema = batch_schema(installed_operations())
    schema.pop("$schema")
    schemas["Batch"] = _with_definitions(schema, schemas)
    return {
        "name": "batch",
        "title": "A batch, as users write it",
        "payload": {"$ref": "#/components/schemas/Batch"},
        "examples": [{"payload": BATCH_EXAMPLE}],
    }


def _message(model: type[Message], example: Message, schemas: dict[str, Any]) -> dict[str, Any]:
    schemas[model.__name__] = _with_definitions(model.model_json_schema(), schemas)
    summary = (model.__doc__ or "").strip().splitlines()[0]
    return {
        "name": model.__name__.lower(),
        "title": summary,
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"payload": example.model_dump(mode="json", exclude_none=True)}],
    }


def _with_definitions(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    for name, definition in schema.pop("$defs", {}).items():
        schemas[name] = _moved(definition)
    return _moved(schema)


def _moved(schema: Any) -> Any:
    match schema:
        case {"$ref": str(reference), **rest}:
            return {**rest, "$ref": reference.replace("#/$defs/", "#/components/schemas/")}
        case dict():
            return {name: _moved(value) for name, value in schema.items()}
        case list() | tuple():
            return [_moved(value) for value in schema]
        case _:
            return schema
