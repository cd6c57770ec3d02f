"""Traces: the context that travels, and the tree of a worker's tasks, collected from a worker at work."""

import gzip
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest
from tests.support.compute_help import picture, spec, task, write_source
from tests.support.http_server import LocalHandler, LocalServer
from tests.support.worker_help import WorkerHarness

from muniflow.errors import Invalid
from muniflow.model.messages import Task
from muniflow.model.topology import TASKS_EXCHANGE, step_queue
from muniflow.runtime.open_tracing import open_tracing
from muniflow.runtime.tracing import TRACEPARENT, ImageId, SpanContext, Tracing
from muniflow.transport.types import OutgoingMessage

IMAGE = ImageId("utrecht", 1700000000.5, 7, 0)


def test_the_span_of_an_image_is_the_same_whoever_asks():
    assert SpanContext.of_image(IMAGE) == SpanContext.of_image(IMAGE)
    others = [
        IMAGE._replace(image=8),
        IMAGE._replace(run=1),
        IMAGE._replace(batch="delft"),
        IMAGE._replace(submitted_at=1.0),
    ]
    assert len({SpanContext.of_image(image).trace_id for image in [IMAGE, *others]}) == 5


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
         SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled=True)),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
         SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled=False)),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        ("00-short-b7ad6b7169203331-01", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_header_is_that_of_the_w3c(header, expected):
    assert SpanContext.read({TRACEPARENT: header}) == expected
    if expected is not None:
        assert expected.header() == header
    assert SpanContext.read({}) is None


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.0, 0, 0), (0.25, 180, 320), (1.0, 1000, 1000)])
def test_a_part_of_the_images_is_traced(ratio, least, most):
    sampled = sum(SpanContext.of_image(IMAGE._replace(image=n), ratio).sampled for n in range(1000))
    assert least <= sampled <= most


def test_off_the_sdk_is_not_even_imported():
    assert not open_tracing({}, "resize").on
    code = "import sys, muniflow.worker.serve; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wrong_setting_is_named():
    with pytest.raises(Invalid, match="MUNIFLOW_TRACES"):
        open_tracing({"MUNIFLOW_TRACES": "loud"}, "resize")


def test_a_tracing_that_is_off_changes_no_message():
    tracing = Tracing()
    assert tracing.headers(IMAGE) == {}
    tracing.ended(IMAGE, began_at=1700000100.0, state="failed")
    tracing.stop()


@pytest.fixture
def spans():
    """A tracing that keeps its spans, and the way to read them."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from muniflow.runtime.otel import tracing_of

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = tracing_of(provider)
    yield tracing, exporter.get_finished_spans
    tracing.stop()


def test_the_span_of_an_image_has_the_id_that_its_tasks_were_told(spans):
    tracing, finished = spans
    told = SpanContext.read(tracing.headers(IMAGE))
    assert told is not None
    tracing.ended(IMAGE, began_at=1700000100.0, state="failed")
    (span,) = finished()
    made = span.get_span_context()
    assert (made.trace_id, made.span_id, span.parent) == (told.trace_id, told.span_id, None)
    assert span.start_time == 1700000100 * 10**9
    assert not span.status.is_ok
    assert span.attributes["muniflow.image"] == 7


def test_a_worker_makes_one_span_for_each_task_below_the_one_before(tmp_path, spans):
    """`smooth` is carried by nobody here, so what follows from `half` is a hop over the broker."""
    tracing, finished = spans
    write_source(tmp_path, "a.png", picture(64, 48, 1))
    (tmp_path / "source" / "b.png").write_bytes(b"no image")
    harness = WorkerHarness(spec(tmp_path, operations=("half",)), ("half",))
    harness.worker.consumer.tracing = tracing
    good, bad, untraced = (task(name, "half", "smooth", image=n) for n, name in enumerate(("a.png", "b.png", "a.png")))
    images = [ImageId("b", 1.0, n, 0) for n in range(2)]
    first = [
        OutgoingMessage(step_queue("half"), sent.to_bytes(), TASKS_EXCHANGE, headers=tracing.headers(image))
        for sent, image in zip((good, bad), images, strict=True)
    ]
    follow = []

    def on_follow(delivery):
        follow.append((Task.from_bytes(delivery.body), SpanContext.read(delivery.headers)))
        harness.coordinator.ack([delivery])
        if len(follow) == 2:
            harness.worker.stop()

    harness.coordinator.consume(step_queue("smooth"), 10, on_follow)
    harness.operations = ("half", "smooth")
    harness.run([*first, OutgoingMessage(step_queue(untraced.op), untraced.to_bytes(), TASKS_EXCHANGE)])
    by_image = {span.attributes["muniflow.image"]: span for span in finished()}
    assert sorted(by_image) == [0, 1], "a task without a context makes no span"
    for number, image in enumerate(images):
        root = SpanContext.of_image(image)
        span = by_image[number]
        assert (span.name, span.parent.span_id, span.parent.trace_id) == ("half", root.span_id, root.trace_id)
        assert span.end_time > span.start_time
    assert by_image[0].attributes["muniflow.outcome"] == "done"
    assert (by_image[1].attributes["muniflow.outcome"], by_image[1].status.is_ok) == ("failed", False)
    contexts: dict[int, Any] = {sent.image: context for sent, context in follow}
    assert contexts[0].span_id == by_image[0].get_span_context().span_id
    assert contexts[2] is None


def test_spans_reach_a_collector_over_otlp(monkeypatch):
    collector = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    bodies = []

    class Collector(LocalHandler):
        def do_POST(self):
            body = self.read_body()
            bodies.append((self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body))
            self.answer(200)

    with closing(LocalServer(Collector)) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        tracing = open_tracing({"MUNIFLOW_TRACES": "otlp"}, "coordinator")
        tracing.ended(IMAGE, began_at=1700000100.0, state="done")
        tracing.stop()
    ((path, body),) = bodies
    request = collector.ExportTraceServiceRequest.FromString(body)
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (path, span.name) == ("/v1/traces", "image")
    assert int.from_bytes(span.trace_id, "big") == SpanContext.of_image(IMAGE).trace_id
