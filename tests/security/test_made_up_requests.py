"""schemathesis with links against a live gateway: no answer is a fault of ours, and no way leads round a key."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.integration.gateway.help import form, picture
from tests.security import made_up_requests
from tests.support import web

from muniflow_gateway.auth.api_keys import make_key

EXAMPLES = 10
"""Of each operation, and of each way from one to the next."""
ANSWER_S = 30
"""For one answer, also on a busy machine; a request without one fails the run and is named."""
MAKING_UP_CPU_S = 500
"""Of schemathesis itself, which on two quiet cores takes about 70 s of them to make the requests up."""
LONGEST_S = 1500
"""Of one run: 15 times what it takes on two quiet cores."""
FOR_EVERYBODY = frozenset({"/livez", "/readyz"})
"""And to sign out."""


def send_made_up(gateway, folder, key, seed):
    """Send what schemathesis makes of the document, with this key; returns method, path and status of each request."""
    log = folder / "requests.jsonl"
    log.write_text("")
    options = {
        "--phases": "examples,coverage,fuzzing,stateful",
        "--checks": "not_a_server_error",
        "--max-examples": str(EXAMPLES),
        "--seed": str(seed),
        "--request-timeout": str(ANSWER_S),
        "--exclude-operation-id": "followBatch",  # it does not end
        "-H": f"X-Api-Key: {key}",
    }
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{gateway.url}/openapi.json"]
    hooks = {"SCHEMATHESIS_HOOKS": made_up_requests.__name__, made_up_requests.LOG_VARIABLE: str(log)}
    try:
        done = subprocess.run(
            [*command, *(part for option in options.items() for part in option)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **hooks},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (MAKING_UP_CPU_S, MAKING_UP_CPU_S)),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"not ended after {LONGEST_S} s; {spent(lines_of(log))}")
    lines = lines_of(log)
    sys.stdout.write(f"\nseed {seed}: {spent(lines)}\n")
    assert done.returncode == 0, f"{done.stdout}\n{spent(lines)}"
    return [(line["method"], urlsplit(line["url"]).path, line["status"]) for line in lines if "begins" not in line]


def lines_of(log: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def spent(lines) -> str:
    """Where the time of a run went: the slowest answers, and what has none yet."""
    answers = [
        (ends["at_s"] - begins["at_s"], f"{begins['begins']} {ends['status']}")
        for begins, ends in pairwise(lines)
        if "begins" in begins and "begins" not in ends
    ]
    answers.sort(reverse=True)
    slowest = ", ".join(f"{what} {took_s:.2f} s" for took_s, what in answers[:5])
    whole_s = lines[-1]["at_s"] - lines[0]["at_s"] if lines else 0
    last = lines[-1].get("begins") if lines else None
    waited = f"; without an answer: {last}" if last else ""
    return (
        f"{len(answers)} answers in {sum(took_s for took_s, _ in answers):.0f} of {whole_s:.0f} s; "
        f"slowest: {slowest}{waited}"
    )


@pytest.mark.security
@pytest.mark.timeout(2 * LONGEST_S + 60)
@pytest.mark.parametrize("seed", [1, 2])
def test_made_up_requests_find_no_fault_and_no_way_round_a_key(own_gateway, tmp_path, seed):
    key = make_key(tmp_path / "keys", "tester", {})
    gateway = own_gateway(
        MUNIFLOW_GATEWAY_OPEN="false", MUNIFLOW_MAX_WAIT_S="1", MUNIFLOW_API_KEYS_FILE=str(tmp_path / "keys")
    )
    headers = {"X-Api-Key": key}
    assert web.post(f"{gateway.url}/v1/process?wait=20", headers=headers, timeout=60, **form(picture())).is_success

    known = send_made_up(gateway, tmp_path, key, seed)
    unknown = send_made_up(gateway, tmp_path, f"{key}x", seed)

    assert any(status < 300 for _, path, status in known if path.startswith("/v1/batches")), "they find something"
    let_in = {
        (method, path, status)
        for method, path, status in unknown
        if status < 400 and path not in FOR_EVERYBODY and (method, path) != ("DELETE", "/v1/session")
    }
    assert not let_in
    sys.stdout.write(
        f"\nseed {seed}: {len(known)} requests with a key, no 5xx; {len(unknown)} without one, none let in\n"
    )
