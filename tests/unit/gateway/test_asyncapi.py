from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.support.asyncapi_document import as_yaml, document

from muniflow.model.operation import installed_operations
from muniflow.model.topology import topology

FILE = Path(__file__).parents[3] / "docs/reference/asyncapi.yaml"
DOCUMENT = document()


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_file_is_what_the_models_say():
    assert FILE.read_text() == as_yaml(), "run tools/asyncapi"
    assert yaml.safe_load(FILE.read_text()) == DOCUMENT


def test_every_reference_leads_somewhere():
    for reference in references(DOCUMENT):
        place = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_queue_that_people_can_use_is_there():
    described = {channel["address"] for channel in DOCUMENT["channels"].values()}
    declared = {queue.name for queue in topology(installed_operations()).queues}

    assert described - {"batch.{event}"} <= declared
    inner = {name for name in declared if ".retry." in name or (name.endswith(".dead") and ".step." not in name)}
    assert declared - described == inner


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_every_example_is_valid(name):
    message = DOCUMENT["components"]["messages"][name]
    schema = {**message["payload"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator.check_schema(schema)

    for example in message["examples"]:
        jsonschema.validate(example["payload"], schema)
