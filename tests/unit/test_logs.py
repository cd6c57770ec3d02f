"""Lines of a log: for people and for machines."""

import io
import json
import logging
import subprocess
import sys
import threading

import pytest

from muniflow.runtime.logs import configure


@pytest.fixture
def stream(monkeypatch):
    """A place for the log; the root logger is as before afterwards."""
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_has_one_object_a_line_with_the_fields(stream):
    configure("json", "INFO", "coordinator", stream)
    logging.getLogger("muniflow.x").warning("batch %s\nis late", "a", extra={"batch": "a", "images": 3})
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {
        "level": "WARNING", "service": "coordinator", "logger": "muniflow.x", "message": "batch a\nis late",
        "batch": "a", "images": 3,
    }  # fmt: skip


def test_a_field_cannot_take_the_place_of_the_level(stream):
    configure("json", "INFO", "coordinator", stream)
    logging.getLogger("x").info("text", extra={"level": "ERROR", "service": "other", "path": object})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["service"]) == ("INFO", "coordinator")


def test_an_exception_is_in_the_line(stream):
    configure("json", "INFO", "coordinator", stream)
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    (text,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(text)["error"]


def test_the_console_is_short(stream):
    configure("console", "INFO", "worker blur", stream)
    logging.getLogger("x").info("connected")
    logging.getLogger("x").warning("slow", extra={"seconds": 3})
    first, second = stream.getvalue().splitlines()
    assert first.partition(" ")[2] == "worker blur: connected"
    assert second.partition(" ")[2] == "WARNING worker blur: slow  seconds=3"


FORGED = "a.jpg\n12:30:01 ERROR coordinator: all is lost\r\x1b[2J\u2028\x85\u202egpj\u061c\x9b2J\ud800"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_name_cannot_forge_a_line(stream, log_format):
    configure(log_format, "INFO", "worker", stream)
    logging.getLogger("x").warning("%s failed", FORGED, extra={"key": FORGED})
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert text[:-1].isprintable()
    assert text.encode()
    if log_format == "json":
        line = json.loads(text)
        assert (line["message"], line["key"]) == (f"{FORGED} failed", FORGED)


def _fail(text):
    raise ValueError(text)


def test_an_exception_that_quotes_a_name_cannot_forge_a_line(stream):
    configure("console", "INFO", "worker", stream)
    try:
        _fail(FORGED)
    except ValueError:
        logging.getLogger("x").exception("it failed")
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("it failed")
    assert all(line.startswith("  ") for line in others)
    assert "Traceback" in others[0]


UNCAUGHT = """
import sys, threading
from muniflow.runtime.logs import configure
configure(sys.argv[1], "INFO", "worker")
def fail(): raise ValueError(sys.argv[2])
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_error_that_nobody_caught_cannot_forge_a_line_either(log_format):
    command = [sys.executable, "-c", UNCAUGHT, log_format, FORGED[:-1]]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert done.returncode == 1
    lines = done.stderr.decode().removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    if log_format == "json":
        assert [json.loads(line)["level"] for line in lines] == ["CRITICAL", "CRITICAL"]
    else:
        heads = [line.partition(" ")[2] for line in lines if not line.startswith("  ")]
        assert heads == ["CRITICAL worker: uncaught"] * 2


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_the_level_counts(stream, level, expected):
    configure("console", level, "x", stream)
    for each in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("muniflow").log(each, "text")
    assert len(stream.getvalue().splitlines()) == expected


@pytest.mark.parametrize(("level", "heard"), [("INFO", False), ("DEBUG", True)])
def test_what_pika_shouts_is_heard_only_for_debugging(stream, level, heard):
    configure("console", level, "x", stream)
    logging.getLogger("pika.adapters").error("Socket EOF")
    assert bool(stream.getvalue()) == heard


def test_configured_twice_it_writes_once(stream):
    configure("console", "INFO", "x", stream)
    configure("console", "INFO", "x", stream)
    logging.getLogger("x").info("once")
    assert len(stream.getvalue().splitlines()) == 1
