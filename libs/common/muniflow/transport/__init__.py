"""Messages over a broker: RabbitMQ, or in memory, behind one interface (`muniflow.transport.types`)."""

from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, Transport

__all__ = ["Delivery", "OutgoingMessage", "PublishProblem", "Transport"]
