"""The document of a batch as users write it: its fields. `muniflow.model.batch` checks it whole."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from muniflow.model.callback import MAX_CALLBACK_CHARS, read_callback
from muniflow.model.deadline import EXAMPLE, read_time
from muniflow.model.messages import Decode
from muniflow.model.output_form import OutputForm
from muniflow.model.rendering import BACKGROUND, Alpha, Band, Color, Metadata

MAX_STEPS = 32
Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""The lowest first."""
Again = Literal["all", "changed"]
BATCH_EXAMPLE: Final[Mapping[str, Any]] = {
    "batch_id": "utrecht-2026-11",
    "municipality": "Utrecht",
    "source": "examples/images/",
    "operations": [["resize", "200x300"], ["split", True], ["blur", "gaussian"]],
    "output": "jpg",
}
"""As documents of the API show it; it runs as it is, where the sources are the folder of the repository."""


class BatchDocument(BaseModel):
    """The JSON that a user sends, before its operations are read."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    batch_id: str | None = Field(
        None, description="Sent twice, the same id is the same batch. Made from the content where it is left out."
    )
    name: str = Field(
        "", max_length=200, description="What people call it; sent again with another, it is the same batch."
    )
    municipality: str = Field("", max_length=200, description="A label, in reports, notices and lists.")
    source: str | None = Field(
        None, description="Prefix in the source store: keys of images, also those in a manifest, are below it."
    )
    images: list[str] | None = Field(None, min_length=1, description="Keys of images, below `source`.")
    manifest: str | None = Field(
        None,
        description="Key, from the root of the source store whatever `source` says, of a text file with one image key "
        "a line.",
    )
    operations: list[Any] = Field(
        min_length=1, max_length=MAX_STEPS, description="The steps, in the order in which they run."
    )
    output: OutputForm = Field("jpg", description="The format of outputs, by its name or with its quality.")
    destination: str | None = Field(None, description="Prefix in the output store; the batch id where it is left out.")
    decode: Decode = Field(
        "exact", description="`fast` lets JPEG decode smaller where `resize` comes first; other pixels, less time."
    )
    color: Color = Field("srgb", description="`srgb` converts colours by their ICC profile; `keep` embeds the profile.")
    alpha: Alpha | None = Field(
        None, description="`keep` it (png, webp: default) or `flatten` it over `background` (jpg: always)."
    )
    background: Annotated[str, Field(pattern=BACKGROUND)] | None = Field(
        None, description="What lies under transparent parts, `#rrggbb`; white where it is left out."
    )
    bands: Annotated[list[Band], Field(min_length=3, max_length=3)] | None = Field(
        None, description="Bands of the source that are red, green and blue, counted from 1; there is no alpha then."
    )
    metadata: Metadata = Field(
        "strip",
        description="What outputs keep of EXIF, GPano and density: nothing, all (`keep`), or place and time (`gps`).",
    )
    weight: int = Field(
        1, ge=1, le=100, description="Share of the turns beside other batches of the same owner and priority."
    )
    deadline: str | None = Field(
        None,
        description="When it should have ended: an RFC 3339 time with its offset, in the future when it is accepted.",
        json_schema_extra={"format": "date-time", "examples": [EXAMPLE]},
    )
    priority: Priority = Field("normal", description="Turns before batches of a lower one.")
    strict: bool = Field(
        default=False,
        description="Refuse the batch where files below `source` are no images, instead of skipping them.",
    )
    replace: bool = Field(
        default=False, description="Remove the outputs of an earlier run in the destination before this one begins."
    )
    again: Again | None = Field(
        None,
        description="Run the batch anew where it has ended before: `all` images, or those that are new or `changed`.",
    )
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="So many days after its end the batch is erased, unless its owner's batches are earlier.",
    )
    callback: str | None = Field(
        None,
        max_length=MAX_CALLBACK_CHARS,
        description="https URL that is told the end of the batch, at a host that the operator allows.",
        json_schema_extra={"format": "uri"},
    )
    checksums: bool = Field(default=False, description="Whether the report has the SHA-256 of sources and outputs.")

    @field_validator("callback")
    @classmethod
    def _is_callback(cls, url: str | None) -> str | None:
        if url is not None:
            read_callback(url)
        return url

    @field_validator("deadline")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None:
            read_time(text)
        return text
