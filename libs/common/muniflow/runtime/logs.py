"""Logging of every process: readable on a terminal, one JSON object a line in a container.

Fields travel through `extra`: `logger.info("batch done", extra={"batch": "utrecht", "images": 200})`; what concerns a
task has `extra=task_fields(task)`. Lines of the same kind are thinned out, so that ten thousand bad images do not make
ten thousand lines: the report and the dead letters name each of them.
"""

import json
import logging
import re
import sys
import threading
import time
from types import TracebackType
from typing import Any, TextIO

from muniflow.model.lineage import label
from muniflow.model.messages import Task

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest are fields of ours."""
NOISY = ("pika", "urllib3", "botocore", "asyncio")
"""Libraries that log as errors what muniflow handles and reports itself, in one line."""


MAX_ALIKE = 10
"""Lines of one kind (the same text before its values) written in a minute; a later line counts the rest."""
MINUTE_S = 60.0


_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What ends a line, moves a terminal's cursor, turns the order of characters round or is not UTF-8."""
_UNSEEN_IN_JSON = re.compile(_UNSEEN.pattern.replace("\x00-\x1f", ""))
"""The same, but for what JSON itself escapes."""


def one_line(text: str) -> str:
    r"""`text` with every character escaped that could make it look like another line: a name may hold any."""
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def in_lines(text: str) -> str:
    """The same for a text that may have several lines, which stay."""
    return "\n".join(map(one_line, text.split("\n")))


def json_text(document: object, indent: int | None = None) -> str:
    """A document as JSON, on one line where there is no `indent`; a terminal shows it and obeys nothing in it."""
    text = json.dumps(document, default=str, ensure_ascii=False, indent=indent)
    return _UNSEEN_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def task_fields(task: Task) -> dict[str, Any]:
    """The fields of a line about a task: which batch, image, step and attempt. Nothing of the image itself."""
    return {
        "batch": task.batch,
        "image": task.image,
        "step": task.step,
        "op": task.op,
        "lineages": [label(lineage) for lineage in task.lineages],
        "attempt": task.attempt,
    }


class Sparse(logging.Filter):
    """Lets at most `MAX_ALIKE` lines of a kind pass in a minute; the first after it has the field `left_out`."""

    def __init__(self) -> None:
        super().__init__()
        self._minutes: dict[tuple[str, str], list[float]] = {}
        """By kind: when its minute began, and how many lines came in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        kind = (record.name, str(record.msg))
        minute = self._minutes.setdefault(kind, [record.created, 0.0])
        if record.created - minute[0] > MINUTE_S:
            left_out = int(minute[1]) - MAX_ALIKE
            minute[:] = [record.created, 0.0]
            if left_out > 0:
                record.left_out = left_out
        minute[1] += 1
        return minute[1] <= MAX_ALIKE


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that were given through `extra`."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `service`, `logger`, `message`, the fields, `error`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        # Fields first: none of them can take the place of the time or the level.
        line = fields_of(record) | {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json_text(line)


class ConsoleFormatter(logging.Formatter):
    """`12:30:01 WARNING coordinator: the text  field=value`; the level only where it is not INFO."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f"  {name}={value}" for name, value in fields_of(record).items())
        line = one_line(f"{clock} {level}{self._service}: {record.getMessage()}{fields}")
        if not record.exc_info:
            return line
        # Indented, so that no line of it looks like one of the log.
        return "\n  ".join([line, *map(one_line, self.formatException(record.exc_info).splitlines())])


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    """Log what nobody caught, in the form of all lines."""
    if not issubclass(kind, SystemExit):
        logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error or kind(), traceback))


def configure(log_format: str, level: str, service: str, stream: TextIO | None = None) -> None:
    """Send the logs of this process to standard error; called once, by its entry point.

    Args:
        log_format: `json` or `console`.
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        service: name of the process, on each line.
        stream: another place than standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service) if log_format == "json" else ConsoleFormatter(service))
    if level != "DEBUG":
        handler.addFilter(Sparse())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    # Python itself would print them as they are, with what they quote.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda found: _log_uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "DEBUG" else logging.CRITICAL)
