"""schemathesis with links against a live gateway: no answer is a fault of ours, and no way leads round a key."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.integration.gateway.help import form, picture
from tests.support import web

from muniflow_gateway.auth.api_keys import make_key

EXAMPLES = 10
"""Of each operation, and of each way from one to the next."""
LONGEST_S = 700
"""Of one run: on two quiet cores it takes about 100 s, most of them to make the requests up."""
FOR_EVERYBODY = frozenset({"/livez", "/readyz"})
"""And to sign out."""


def send_made_up(gateway, folder, key, seed):
    """Send what schemathesis makes of the document, with this key; returns method, path and status of each request."""
    har = folder / "requests.har"
    options = {
        "--phases": "examples,coverage,fuzzing,stateful",
        "--checks": "not_a_server_error",
        "--max-examples": str(EXAMPLES),
        "--seed": str(seed),
        "--request-timeout": "60",
        "--exclude-operation-id": "followBatch",  # it does not end
        "--report": "har",
        "--report-har-path": str(har),
        "-H": f"X-Api-Key: {key}",
    }
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{gateway.url}/openapi.json"]
    done = subprocess.run(
        [*command, *(part for option in options.items() for part in option)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    entries = json.loads(har.read_text())["log"]["entries"]
    return [
        (entry["request"]["method"], urlsplit(entry["request"]["url"]).path, entry["response"]["status"])
        for entry in entries
    ]


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
