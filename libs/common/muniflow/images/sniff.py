"""Whether a file may be decoded, by its first bytes. Needs no numpy."""

from collections.abc import Collection

from muniflow.errors import Rejected
from muniflow.images.limits import setting
from muniflow.model.source_formats import FORMAT_NAMES, SourceFormat, describe, format_of


def allowed_format(data: memoryview, formats: Collection[SourceFormat]) -> SourceFormat:
    """The format that `data` starts as.

    Raises:
        Rejected: it is empty, or none of `formats`; the text says what it seems to be.
    """
    if not data.nbytes:
        raise Rejected("the file is empty", reason_code="file_empty")
    found = format_of(data)
    if found is None or found not in formats:
        allowed = ", ".join(FORMAT_NAMES[name] for name in formats)
        raise Rejected(
            f"not an image that is allowed: it seems to be {describe(data)}; allowed: {allowed} {setting('formats')}",
            reason_code="not_an_image",
        )
    return found
