"""RabbitMQ's metrics, read; the text is what 3.10 and 4.x write."""

from contextlib import closing

import pytest
from tests.support.http_server import LocalHandler, LocalServer

from muniflow.errors import Unavailable
from muniflow.transport.admin import QueueMetrics, parse_metrics, queue_metrics

LEADER = """\
# TYPE rabbitmq_detailed_queue_messages_ready gauge
# HELP rabbitmq_detailed_queue_messages_ready Messages ready to be delivered to consumers
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="muniflow.step.blur"} 12
rabbitmq_detailed_queue_messages_unacked{vhost="/",queue="muniflow.step.blur"} 3
rabbitmq_detailed_queue_messages{vhost="/",queue="muniflow.step.blur"} 15
rabbitmq_detailed_queue_process_reductions_total{vhost="/",queue="muniflow.step.blur"} 15000
rabbitmq_detailed_queue_consumers{vhost="/",queue="muniflow.step.blur"} 2
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="odd \\"name\\", {1}"} 1.0
"""
FOLLOWER = """\
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="muniflow.step.blur"} 0
rabbitmq_detailed_queue_consumers{vhost="/",queue="muniflow.events"} 1
"""


def test_a_pod_is_read():
    assert parse_metrics(LEADER)["muniflow.step.blur"] == QueueMetrics(ready=12, unacked=3, consumers=2)


@pytest.mark.parametrize("texts", [(LEADER, FOLLOWER), (FOLLOWER, LEADER)])
def test_the_leader_of_a_queue_is_believed(texts):
    metrics = parse_metrics(*texts)
    assert metrics["muniflow.step.blur"] == QueueMetrics(ready=12, unacked=3, consumers=2)
    assert metrics["muniflow.events"] == QueueMetrics(consumers=1)


@pytest.mark.parametrize("text", ["", "<html>no</html>", "rabbitmq_detailed_queue_messages_ready 7"])
def test_other_text_has_no_queues(text):
    assert parse_metrics(text) == {}


@pytest.fixture
def address():
    """A server that has only one metric, of the path that was asked for."""

    class Handler(LocalHandler):
        def do_GET(self):
            if self.path.startswith("/metrics/detailed?family="):
                self.answer(200, LEADER.encode(), "text/plain")
            else:
                self.answer(404)

    with closing(LocalServer(Handler)) as server:
        yield server.url


def test_metrics_are_fetched(address):
    assert queue_metrics(address + "/")["muniflow.step.blur"].ready == 12


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
def test_what_does_not_answer_is_unavailable(url):
    with pytest.raises(Unavailable, match="RabbitMQ's metrics"):
        queue_metrics(url)


def test_an_error_page_is_unavailable(address):
    with pytest.raises(Unavailable, match="404"):
        queue_metrics(address + "/elsewhere?")
