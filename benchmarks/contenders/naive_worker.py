"""A worker of the naive pipeline: takes one task, reads one JPEG, writes JPEGs, publishes one message for each."""

import json
import sys
from pathlib import Path
from typing import Any

import pika

from benchmarks import chain
from benchmarks.contenders.naive import DONE, declare, publish, step_queue


def work(channel: Any, task: dict[str, Any]) -> None:
    """Run one step on one picture and pass on what it made."""
    operations, step, source = task["operations"], task["step"], Path(task["input"])
    images = chain.apply(chain.decode(source), operations[step])
    last = step + 1 == len(operations)
    stem = task.get("stem") or source.stem
    for number, image in enumerate(images):
        tile = f"{task['tile']}-{number}" if len(images) > 1 else task["tile"]
        target = Path(task["output"], f"{stem}{tile}.jpg") if last else Path(task["work"], f"{stem}{tile}.{step}.jpg")
        target.write_bytes(chain.encode(image))
        if last:
            publish(channel, DONE, {"output": str(target)})
        else:
            follow = {**task, "input": str(target), "step": step + 1, "tile": tile, "stem": stem}
            publish(channel, step_queue(operations[step + 1][0]), follow)
    if step:
        source.unlink(missing_ok=True)


def main() -> None:
    """Serve one operation until the process is ended."""
    operation, url = sys.argv[1:]
    connection = pika.BlockingConnection(pika.URLParameters(f"{url}?heartbeat=0"))
    channel = connection.channel()
    declare(channel)
    channel.basic_qos(prefetch_count=1)

    def on_message(_: Any, method: Any, __: Any, body: bytes) -> None:
        work(channel, json.loads(body))
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(step_queue(operation), on_message)
    channel.start_consuming()


if __name__ == "__main__":
    main()
