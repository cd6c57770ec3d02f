"""A report without one of its images, as a stream: nothing of the image is left but its number. Pure."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from muniflow.errors import Rejected
from muniflow.model.report import image_entry, report_of_lines
from muniflow.model.report_rows import entry_lines, lines_of


def read_header(line: bytes) -> dict[str, Any]:
    """Everything of a report but its images, from its first line.

    Raises:
        Rejected: it is none of a report.
    """
    try:
        header = json.loads(line + b"]}")
        str(header["batch_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Rejected("not a report, or its first line is damaged") from None
    header.pop("images", None)
    return dict(header)


def erased_name(image: int) -> str:
    """What stands for the name of an image that was erased."""
    return f"erased-{image}"


def without_image(read: Callable[[], Iterable[bytes]], image: int) -> Iterator[bytes]:
    """The report, sealed anew, in which this image is `cancelled` and has a name that says nothing.

    Args:
        read: the report in chunks; called twice, as its totals come before its images.
        image: the number of the image.

    Raises:
        Rejected: it is no report, or it is cut off.
    """
    header = read_header(next(lines_of(read()), b""))
    mark = f'{{"image": {image},'.encode()
    for line in entry_lines(read()):
        if line.startswith(mark):
            _count_out(header.get("totals", {}), json.loads(line))
    erased = json.dumps(image_entry(image, erased_name(image), "cancelled")).encode()
    return report_of_lines(header, (erased if line.startswith(mark) else line for line in entry_lines(read())))


def _count_out(totals: dict[str, int], entry: dict[str, Any]) -> None:
    if entry["state"] in totals:
        totals[entry["state"]] -= 1
        totals["cancelled"] = totals.get("cancelled", 0) + 1
        totals["outputs"] = totals.get("outputs", 0) - len(entry["outputs"])
