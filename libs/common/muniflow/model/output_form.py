"""The two forms of `output` in a batch document."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from muniflow.errors import Fault
from muniflow.model.messages import IMAGE_FORMATS, LOSSLESS, Encoding, ImageFormat

FORMATS: Mapping[str, ImageFormat] = {**{name: name for name in IMAGE_FORMATS}, "jpeg": "jpg"}


class OutputDocument(BaseModel):
    """The long form of `output`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    format: str = Field(description="The format of every output.")
    quality: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Of jpg and webp, 1 to 100; the encoder's default where it is left out. png takes none."
    )


def _output_form(value: object) -> str:
    return _LONG_FORM if isinstance(value, dict | OutputDocument) else _SHORT_FORM


_SHORT_FORM, _LONG_FORM = OUTPUT_FORMS = ("short form", "long form")
OutputForm = Annotated[
    Annotated[str, Tag(_SHORT_FORM)] | Annotated[OutputDocument, Tag(_LONG_FORM)], Discriminator(_output_form)
]
"""`output` in either form; faults are only those of the form that is meant."""


def output_faults(output: str | OutputDocument) -> list[Fault]:
    """What is wrong with it."""
    name, quality = (output, None) if isinstance(output, str) else (output.format, output.quality)
    place = "output" if isinstance(output, str) else "output.format"
    if name not in FORMATS:
        return [Fault(place, unknown_format(name))]
    if quality is not None and FORMATS[name] in LOSSLESS:
        return [Fault("output.quality", f"{name} is lossless and takes no quality")]
    return []


def unknown_format(name: str) -> str:
    """What is wrong with a name that is not in `FORMATS`."""
    return f"unknown format {name!r}; allowed: {', '.join(IMAGE_FORMATS)}"


def read_encoding(output: str | OutputDocument) -> Encoding:
    """What it means; it has no fault."""
    if isinstance(output, str):
        return Encoding(format=FORMATS[output])
    return Encoding(format=FORMATS[output.format], quality=output.quality)
