"""Hooks of schemathesis, loaded by it: each request is a line of a file when it begins, and another one when it ends.

So a run that does not end can be asked what it was doing (`tests.security.test_made_up_requests`).
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import schemathesis

LOG_VARIABLE = "MADE_UP_LOG"
"""Names the file. A process of tests that has imported this module has it not, and runs schemathesis for others."""


def _note(**fields: Any) -> None:
    if LOG_VARIABLE in os.environ:
        with Path(os.environ[LOG_VARIABLE]).open("a") as log:
            log.write(json.dumps({"at_s": time.monotonic(), **fields}) + "\n")


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """A request begins."""
    _note(begins=f"{case.method} {case.path}")


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """It was answered, to the last byte."""
    _note(method=case.method, url=response.request.url, status=response.status_code)


@schemathesis.hook
def after_network_error(_context: Any, _case: Any, request: Any) -> None:
    """It was not answered."""
    _note(method=request.method, url=request.url, status=None)
