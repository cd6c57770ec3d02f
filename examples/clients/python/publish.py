"""Publish a batch, wait for its end and print its report: python publish.py BATCH.json. Needs pika."""

import json
import os
import sys
import urllib.request
import uuid
from pathlib import Path

import pika

ENDS = ("done", "partial", "failed", "cancelled")
API = os.environ.get("MUNIFLOW_API_URL", "http://127.0.0.1:8080")
WAIT_S = 300

connection = pika.BlockingConnection(pika.URLParameters(os.environ["MUNIFLOW_AMQP_URL"]))
channel = connection.channel()
notices = channel.queue_declare("", exclusive=True).method.queue
for state in ("accepted", "rejected", *ENDS):
    channel.queue_bind(notices, "muniflow.notify", f"batch.{state}")

body = Path(sys.argv[1]).read_bytes()
message_id = str(uuid.uuid4())
properties = pika.BasicProperties(content_type="application/json", delivery_mode=2, message_id=message_id)
channel.confirm_delivery()
channel.basic_publish("muniflow", "muniflow.batches", body, properties, mandatory=True)  # raises unless it is stored


def report_of(batch: str) -> str:
    """The report, from the HTTP API; it is also the file <destination>/report.json in the output store."""
    request = urllib.request.Request(f"{API}/v1/batches/{batch}/report")
    if key := os.environ.get("MUNIFLOW_API_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


batch = None  # known with the answer to our message
for method, _, text in channel.consume(notices, auto_ack=True, inactivity_timeout=WAIT_S):
    if method is None:
        sys.exit(f"no notice for {WAIT_S} s")
    notice = json.loads(text)
    if notice.get("message_id") == message_id:
        batch = notice["batch"]
        if notice["state"] == "rejected":  # of somebody else's message it says nothing about our batch
            print(json.dumps(notice["faults"], indent=2))
            sys.exit(1)
    if batch is None or notice["batch"] != batch or notice["state"] == "rejected":
        continue
    print(f"{batch}: {notice['state']}, {notice['done']} of {notice['total']} images", file=sys.stderr)
    if notice["state"] in ENDS:
        print(report_of(batch))
        sys.exit(0 if notice["state"] == "done" else 1)
