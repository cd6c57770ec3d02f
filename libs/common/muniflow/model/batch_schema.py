"""The JSON Schema of a batch, as editors and the API's documents have it."""

from typing import Any, cast

from muniflow.model.batch_document import BatchDocument
from muniflow.model.batch_faults import BATCH_ID
from muniflow.model.deadline import RFC_3339
from muniflow.model.messages import IMAGE_FORMATS, LOSSLESS
from muniflow.model.operation import Operations
from muniflow.model.output_form import FORMATS


def batch_schema(operations: Operations) -> dict[str, Any]:
    """The JSON Schema of a batch, with the long form of every installed operation."""
    schema = BatchDocument.model_json_schema()
    items: list[dict[str, Any]] = []
    for operation in operations.values():
        long = operation.params.model_json_schema()
        named = {"const": operation.name, "description": "The name of the operation."}
        long["properties"] = {"op": named, **long.get("properties", {})}
        long["required"] = ["op", *long.get("required", [])]
        long["description"] = operation.summary
        short = {
            "type": "array",
            "description": f"Short form: {operation.summary}",
            "prefixItems": [{"const": operation.name}, dict(operation.params.SHORT)],
            "minItems": 2,
            "maxItems": 2,
            "examples": [example for example in operation.examples if isinstance(example, list)],
        }
        items += [short, long]
    properties = cast("dict[str, Any]", schema["properties"])
    properties["operations"] = {**properties["operations"], "items": {"anyOf": items} if items else {}}
    long_output = schema["$defs"]["OutputDocument"]
    long_output["properties"]["format"]["enum"] = list(FORMATS)
    # Not as `if` and `then`: what makes requests up of the document (schemathesis) fails at those beside a file.
    lossy = [name for name, image_format in FORMATS.items() if image_format not in LOSSLESS]
    long_output["anyOf"] = [
        {"properties": {"format": {"enum": lossy}}},
        {"properties": {"quality": {"type": "null"}}},
    ]
    for field, more in (
        ("output", {"enum": list(FORMATS)}),
        ("batch_id", {"pattern": f"^{BATCH_ID.pattern}$"}),
        ("deadline", {"pattern": f"^{RFC_3339.pattern}$"}),
    ):
        forms = properties[field].get("oneOf") or properties[field]["anyOf"]
        next(form for form in forms if form.get("type") == "string").update(more)
    properties["output"]["examples"] = [*IMAGE_FORMATS, {"format": "jpg", "quality": 90}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A muniflow batch"}
