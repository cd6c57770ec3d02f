"""`docs/reference/api.md` against the OpenAPI document: every request, every query parameter, every field."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from muniflow.model.operation import installed_operations
from muniflow_gateway.app import make_app
from muniflow_gateway.dependencies import Dependencies
from muniflow_gateway.settings import GatewaySettings

PAGE = (Path(__file__).parents[3] / "docs/reference/api.md").read_text()
FIELDS = PAGE[PAGE.index("**Fields of the answers**") : PAGE.index("**Repeating a request.**")]
REQUEST = re.compile(r"`(GET|POST|DELETE) ([^`?]+)(?:\?([^`]*))?`")
NAMES = {"batch_id": "id", "number": "n", "index": "i", "operation": "operation"}


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """The document, of an app that serves nobody."""
    deps = SimpleNamespace(access=None, metrics=None, settings=GatewaySettings(), operations=installed_operations())
    return make_app(cast("Dependencies", deps)).openapi()


def requests_in(openapi: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Method and path of each request, and its query parameters."""
    return {
        (method.upper(), re.sub(r"{(\w+)}", lambda part: f"<{NAMES[part[1]]}>", path)): {
            parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"
        }
        for path, item in openapi["paths"].items()
        for method, operation in item.items()
    }


def answer_fields(openapi: dict[str, Any]) -> set[str]:
    """Every field of an answer, of what answers are made of, too."""
    schemas, found = openapi["components"]["schemas"], set[str]()
    seen = {"Report"}  # report.md has its fields, and a test of its own

    def walk(node: Any) -> None:
        match node:
            case {"$ref": str(reference)} if (name := reference.rpartition("/")[2]) not in seen:
                seen.add(name)
                found.update(schemas[name].get("properties", ()))
                walk(schemas[name])
            case dict():
                for name, value in node.items():
                    if name not in {"examples", "example"}:
                        walk(value)
            case list():
                for value in node:
                    walk(value)

    walk([op["responses"] for item in openapi["paths"].values() for op in item.values()])
    assert {"BatchView", "FormatView", "ProblemBody"} <= seen
    return found


def test_the_page_lists_the_requests_with_their_parameters(openapi):
    table = PAGE[PAGE.index("## All of it") : PAGE.index("```sh")]
    page = {(method, path): set(re.findall(r"(\w+)=", query)) for method, path, query in REQUEST.findall(table)}

    assert page == requests_in(openapi)


def test_the_page_lists_the_fields_of_the_answers(openapi):
    page = set(re.findall(r"`(\w+)`", FIELDS)) - {"null", "after"}

    assert page == answer_fields(openapi)
