# ruff: noqa: INP001, T201, S310 - a script that a pod runs: it prints, and its one URL is the coordinator's
"""`helm test`: send a real small batch through the pipeline and look for every output.

    python batch.py TIMEOUT_SECONDS OPERATION,OPERATION,…

Where GATEWAY_URL is set, the gateway is tried, too (`gateway.py`). Runs in the coordinator's image: it makes its
own picture, so it needs no OpenCV.
"""

import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from typing import Any

from gateway import try_gateway
from pika.exceptions import AMQPError

from muniflow.errors import MuniflowError
from muniflow.model.operation import installed_operations
from muniflow.model.topology import BATCHES
from muniflow.runtime.settings import BrokerSettings, read_env
from muniflow.store import open_store
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.connection import user_of
from muniflow.transport.types import OutgoingMessage

WIDTH_PX, HEIGHT_PX, IMAGES = 256, 192, 3
POLL_S = 1.0
NOT_FOUND = 404
TERMINAL = ("done", "partial", "failed", "cancelled")


def picture(seed: int) -> bytes:
    """A PNG with a gradient that differs by seed."""
    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // WIDTH_PX, y * 255 // HEIGHT_PX, seed % 256)) for x in range(WIDTH_PX))
        for y in range(HEIGHT_PX)
    )
    header = struct.pack(">IIBBBBB", WIDTH_PX, HEIGHT_PX, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def publish_when_possible(batch: dict[str, Any], deadline_s: float) -> None:
    """Hand the batch in; broker and coordinator may still be starting."""
    while True:
        try:
            publish(batch)
        except (MuniflowError, AMQPError) as error:  # the second: a refusal, as of rights that are not there yet
            if time.monotonic() > deadline_s:
                raise SystemExit(f"the broker does not take the batch: {error}") from error
            time.sleep(POLL_S)
        else:
            return


def publish(batch: dict[str, Any]) -> None:
    """Hand the batch in once; returns when the broker has it safely."""
    broker = read_env(BrokerSettings, os.environ)
    with open_channel(broker, "muniflow test") as channel:
        republish(channel, OutgoingMessage(BATCHES, json.dumps(batch).encode(), user_id=user_of(broker)))


def ask(path: str) -> dict[str, Any] | None:
    """The coordinator's answer, or `None` where it knows nothing or is away for a moment."""
    try:
        with urllib.request.urlopen(os.environ["MUNIFLOW_COORDINATOR_URL"] + path, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == NOT_FOUND:
            return None
        raise
    except (urllib.error.URLError, TimeoutError):
        return None


def wait(batch_id: str, deadline_s: float) -> dict[str, Any]:
    """The batch in its terminal state."""
    said = None
    while time.monotonic() < deadline_s:
        status = ask(f"/v1/batches/{batch_id}")
        if status:
            now = f"{status['state']}: {status['done']} of {status['total']} images"
            if now != said:
                print(now, flush=True)
            said = now
            if status["state"] in TERMINAL:
                return status
        time.sleep(POLL_S)
    stages = ask("/v1/stages") or {}
    raise SystemExit(f"the batch did not end in time; last seen: {said}; stages: {json.dumps(stages)}")


def main() -> None:
    """Run the batch; exit 0 only when every output is there."""
    timeout_s, stages = float(sys.argv[1]), sys.argv[2].split(",")
    # Whatever operations this installation has: a new one is tried without a change here.
    route = [operation.examples[0] for name, operation in installed_operations().items() if name in stages]
    batch_id = f"helm-test-{int(time.time())}"
    source, output = open_store(os.environ["MUNIFLOW_SOURCE_URL"]), open_store(os.environ["MUNIFLOW_OUTPUT_URL"])
    for number in range(IMAGES):
        source.write(f"{batch_id}/{number}.png", picture(number * 80))
    batch = {"batch_id": batch_id, "municipality": "helm test", "source": f"{batch_id}/", "operations": route}
    deadline_s = time.monotonic() + timeout_s
    publish_when_possible({**batch, "output": "png"}, deadline_s)
    print(f"published {batch_id}: {IMAGES} images, route {json.dumps(route)}", flush=True)
    status = wait(batch_id, deadline_s)
    images = (ask(f"/v1/batches/{batch_id}/images") or {"images": []})["images"]
    outputs = [key for image in images for key in image["outputs"]]
    missing = [key for key in outputs if output.size(key) is None]
    expected = IMAGES * status["outputs_per_image"]
    print(f"{len(outputs)} outputs, {expected} expected, {len(missing)} missing")
    for number in range(IMAGES):
        source.delete(f"{batch_id}/{number}.png")
    if status["state"] != "done" or len(outputs) != expected or missing:
        raise SystemExit(f"FAILED: {json.dumps(status)}")
    if os.environ.get("GATEWAY_URL"):
        try_gateway(picture(IMAGES * 80), route, deadline_s)
    print("PASSED")


if __name__ == "__main__":
    main()
