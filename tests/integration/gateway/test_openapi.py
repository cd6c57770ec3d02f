"""schemathesis against the live service: what it makes of the OpenAPI document, and whether the answers keep to it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.integration.gateway.help import form, picture
from tests.support import web

pytestmark = pytest.mark.timeout(240)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
EXAMPLES = 12
"""Of each operation; more, by hand: `schemathesis run http://127.0.0.1:8080/openapi.json`."""


@pytest.fixture(scope="module")
def api_schema(stack):
    """The document of the running gateway, with a batch for its paths to find."""
    with web.Client(base_url=stack.url, timeout=60) as client:
        batch_id = client.post("/v1/process?wait=20", **form(picture())).headers["X-Batch-Id"]
        document = client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "batch_id":
                    parameter["examples"] = {"known": {"value": batch_id}, "unknown": {"value": "none"}}
        assert path.startswith("/")
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=stack.url)
    return schema


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_service_keeps_to_its_document(api_schema, mode):
    tried = 0
    for result in api_schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events"):
            continue  # it does not end
        tried += try_out(operation, mode)

    assert tried > 100


def try_out(operation, mode):
    """Send what schemathesis makes of one operation; returns how many requests that were."""
    sent = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case):
        nonlocal sent
        sent += 1
        case.validate_response(case.call(timeout=60), checks=CHECKS)

    try:
        run()
    except Unsatisfiable:  # an operation without parameters has nothing that could be wrong
        assert mode is GenerationMode.NEGATIVE
    return sent


def test_the_document_is_complete(stack):
    document = web.get(f"{stack.url}/openapi.json").json()

    for path, item in document["paths"].items():
        for method, operation in item.items():
            place = f"{method} {path}"
            assert operation["operationId"], place
            assert operation["summary"], place
            assert operation["description"], place
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], f"{place} {status}"
                    assert "example" in answer["content"]["application/problem+json"], f"{place} {status}"
    assert document["components"]["schemas"]["Batch"]["examples"]
    assert "resize" in str(document["components"]["schemas"]["Actions"])
