"""schemathesis with links against a live gateway: no answer is a fault of ours, and no way leads round a key."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.gateway.help import form, picture
from tests.support import web

from muniflow_gateway.auth.api_keys import make_key

EXAMPLES = 40
"""Of each operation, and of each way from one to the next."""
CHECKS = "not_a_server_error,ignored_auth,use_after_free"


@pytest.mark.security
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_made_up_requests_find_no_way_round_a_key(own_gateway, tmp_path, seed):
    secret = make_key(tmp_path / "keys", "tester", {})
    gateway = own_gateway(
        MUNIFLOW_GATEWAY_OPEN="false", MUNIFLOW_MAX_WAIT_S="1", MUNIFLOW_API_KEYS_FILE=str(tmp_path / "keys")
    )
    headers = {"X-Api-Key": secret}
    assert web.post(f"{gateway.url}/v1/process?wait=20", headers=headers, timeout=60, **form(picture())).is_success
    document = web.get(f"{gateway.url}/openapi.json").json()
    tried = [path for path, item in document["paths"].items() for _ in item]
    options = {
        "--phases": "examples,coverage,fuzzing,stateful",
        "--checks": CHECKS,
        "--max-examples": str(EXAMPLES),
        "--seed": str(seed),
        "--request-timeout": "60",
        "--exclude-operation-id": "followBatch",
        "--report": "json",
        "--report-json-path": str(tmp_path / "report.json"),
        "-H": f"X-Api-Key: {secret}",
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), "run", f"{gateway.url}/openapi.json"]
        + [part for option in options.items() for part in option],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout
    assert len(tried) > 10
    assert json.loads((tmp_path / "report.json").read_text())
