"""What a webhook says: the last notice of a batch as a CloudEvent 1.0, in the structured form. Pure."""

import hashlib
import json

from muniflow.model.deadline import show_time
from muniflow.model.messages import Notice

SOURCE = "/muniflow/batches"
TYPE = "muniflow.batch"
LEFT_OUT = {"v", "message_id", "at"}


def event_id(notice: Notice, number: int, ended_at: float) -> str:
    """Return the id of an event: the same whenever this end of this batch is told, after a restart, too."""
    named = json.dumps([notice.batch, number, notice.state, ended_at, notice.revision])
    return f"msg_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def cloud_event(notice: Notice, event: str, ended_at: float) -> bytes:
    """Return the body of the webhook."""
    document = {
        "specversion": "1.0",
        "id": event,
        "source": SOURCE,
        "type": f"{TYPE}.{notice.state}",
        "subject": notice.batch,
        "time": show_time(ended_at),
        "datacontenttype": "application/json",
        "data": notice.model_dump(mode="json", exclude=LEFT_OUT, exclude_none=True),
    }
    return json.dumps(document).encode()
