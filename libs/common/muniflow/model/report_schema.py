"""The JSON Schema of `report.json`, version 1. Fields may be added within a version; none is removed or changed."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.messages import ImageFormat, ImageState
from muniflow.reason_codes import ReasonCode

VERSION = 1
Count = Annotated[int, Field(ge=0)]
Seconds = float
Ended = Literal["done", "partial", "failed", "cancelled"]


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


class ReportEntry(_Part):
    """One image. A line of `report.ndjson` is one of these."""

    image: Count = Field(description="Its place in the batch, 0-based.")
    source: str = Field(description="Its key in the source store.")
    state: ImageState
    outputs: list[str] = Field(description="Keys of its outputs, in split order; only where it is done.")
    reasons: list[str] = Field(description="Why it failed, for people.")
    reason_code: str | None = Field(
        None,
        description="Why it failed, for programs; null where it did not. Reports of earlier builds have none.",
        json_schema_extra={"examples": list(get_args(ReasonCode))},
    )

    source_sha256: str | None = Field(None, description="Of its encoded source; null where it is not done.")
    outputs_sha256: list[str] = Field([], description="Of its outputs, in their order.")
    metadata: list[str] | None = Field(
        None, description="What its outputs keep of the metadata of its source; only where the batch keeps any."
    )
    source_version: str | None = Field(
        None, description="Size, time and ETag of its source when the list was read; only to be compared."
    )
    revision: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Only where an earlier run made its outputs: which."
    )


class _Totals(_Part):
    images: Count
    done: Count
    failed: Count
    cancelled: Count
    outputs: Count


class _Times(_Part):
    submitted_at: float = Field(description="Unix time, seconds.")
    finished_at: float = Field(description="Unix time, seconds.")
    seconds: Seconds


class _Forecast(_Part):
    p50_s: Seconds | None
    p90_s: Seconds | None
    actual_s: Seconds
    reason: str | None = Field(None, description="Why none was made.")


class _Output(_Part):
    format: ImageFormat
    quality: int | None = None


class _Shard(_Part):
    number: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=1)]
    images: Count
    images_sha256: str


class _Gone(_Part):
    count: Count
    sources: list[str] = Field(description="The first 1,000 of them.")


class _Missing(_Part):
    shards: list[int]
    of: int
    images: Count


class Report(_Part):
    """The report of a batch that ended."""

    v: Literal[1]
    batch_id: str
    name: str | None = Field(None, description="What people call it; left out where it has no name.")
    municipality: str
    state: Ended
    destination: str
    operations: list[dict[str, Any]] = Field(description="The route, each step in its long form.")
    output: _Output
    decode: str
    checksums: Literal["sha256"] | None = Field(None, description="The kind of digest, where images have one.")
    totals: _Totals
    kept: Count | None = Field(None, description="Images that had not changed since an earlier run.")
    gone: _Gone | None = Field(None, description="Sources of the run before that the batch no longer has.")
    times: _Times
    forecast: _Forecast
    shard: _Shard | None = Field(None, description="Only in the report of a share.")
    missing: _Missing | None = Field(None, description="Only in a merged report that lacks shares.")
    images: list[ReportEntry]
    sha256: str | None = Field(None, description="Of all lines before the last one, which has it.")


def report_schema() -> dict[str, Any]:
    """The JSON Schema of a report."""
    schema = Report.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:muniflow:report:{VERSION}"}
    return {**head, **schema, "title": "A muniflow report"}
