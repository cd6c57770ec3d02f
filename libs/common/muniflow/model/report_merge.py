"""One report of the reports of shares: equal to the report of one run of the whole batch, except for the times.

Pure: from the bytes of reports to the parts of one. Entries keep their bytes; memory is that of the reports.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from muniflow.errors import Fault, Invalid
from muniflow.model.checksums import digest
from muniflow.model.messages import ImageState
from muniflow.model.report import IMAGES_FOLLOW, ForecastEntry, Times, final_state
from muniflow.model.report_end import is_last, seal_of
from muniflow.model.share import MAX_SHARES, Share

MAX_FAULTS = 20
"""Faults reported at once; a wrong share of 10,000 would be wrong in each of them."""
_OF_A_RUN = frozenset({"state", "totals", "times", "forecast", "shard"})
"""Fields of a report that differ from share to share; all others are of the batch."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Shard(_Strict):
    number: int = Field(ge=1)
    of: int = Field(ge=1, le=MAX_SHARES)
    images: int = Field(ge=0)
    images_sha256: str


class _Totals(_Strict):
    done: int = Field(ge=0)
    failed: int = Field(ge=0)
    cancelled: int = Field(ge=0)
    outputs: int = Field(ge=0)
    skipped: int = Field(default=0, ge=0)
    """Files of the whole batch, not of the share."""


class _Times(_Strict):
    submitted_at: FiniteFloat
    finished_at: FiniteFloat


class _Header(_Strict):
    v: Literal[1]
    batch_id: str
    municipality: str
    destination: str
    totals: _Totals
    times: _Times
    shard: _Shard


class _Entry(_Strict):
    image: int
    state: ImageState
    outputs: list[str]


@dataclass(frozen=True)
class ShareReport:
    """The report of one share, checked."""

    name: str
    """Where it was read, for faults."""
    document: dict[str, Any]
    """All of it but its images."""
    header: _Header
    lines: Sequence[bytes]
    """The entries of its images as JSON, in the order of the batch."""

    @property
    def share(self) -> Share:
        """Which share it is."""
        return Share(self.header.shard.number, self.header.shard.of)


@dataclass(frozen=True)
class MergedReport:
    """One report of all shares that are there."""

    header: dict[str, Any]
    missing: tuple[int, ...]
    """Numbers of the shares that have images and are not there."""
    of: int
    missing_images: int
    reports: Sequence[ShareReport]

    def lines(self) -> Iterator[bytes]:
        """The entries of all images of the shares that are there, in the order of the batch."""
        by_number = {report.share.number: report for report in self.reports}
        for n in range(self.reports[0].header.shard.images):
            report = by_number.get(n % self.of + 1)
            if report is not None:
                yield report.lines[report.share.position(n)]


def read_share_report(name: str, text: bytes) -> ShareReport:
    """Read and check the report of a share.

    Args:
        name: where it was read; the place of faults.
        text: all of it, as `report_chunks` wrote it.

    Raises:
        Invalid: it is no report, that of a whole batch, cut off, or lists other images than those of its share.
    """
    first, _, rest = text.partition(b"\n")
    body, _, end = rest.removesuffix(b"\n").rpartition(b"\n")
    if not first.endswith(IMAGES_FOLLOW) or not rest.endswith(b"\n") or not is_last(end):
        raise _invalid(name, "not a report as `muniflow run` writes it, or cut off; run the share again")
    try:
        document = json.loads(first + b"]}")
        del document["images"]
        if "shard" not in document:
            raise _invalid(name, "the report of a whole batch, not of a share")
        header = _Header.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise _invalid(name, f"not the report of a share: {place}: {problem['msg']}") from None
    except (ValueError, RecursionError):
        raise _invalid(name, "not a report: its first line is not JSON") from None
    report = ShareReport(name, document, header, body.split(b",\n") if body else ())
    _check_entries(report)
    if (seal := seal_of(end)) is not None and seal != digest(text[: -len(end) - 1]):
        raise _invalid(name, "it was changed after it was written; run the share again")
    return report


def _check_entries(report: ShareReport) -> None:
    shard = report.header.shard
    if shard.number > shard.of:
        raise _invalid(report.name, f"shard {report.share}: shares are numbered from 1 to {shard.of}")
    expected = report.share.numbers(shard.images)
    if len(expected) != len(report.lines):
        raise _invalid(report.name, f"lists {len(report.lines)} images; share {report.share} has {len(expected)}")
    counts = {"done": 0, "failed": 0, "cancelled": 0, "outputs": 0}
    for number, line in zip(expected, report.lines, strict=True):
        try:
            entry = _Entry.model_validate_json(line)
        except ValidationError:
            raise _invalid(report.name, f"the entry of image {number} cannot be read") from None
        if entry.image != number:
            raise _invalid(report.name, f"lists image {entry.image} where share {report.share} has image {number}")
        counts[entry.state] += 1
        counts["outputs"] += len(entry.outputs)
    if counts != report.header.totals.model_dump(exclude={"skipped"}):
        raise _invalid(report.name, "its totals are not those of its images")


def merge_reports(reports: Sequence[ShareReport]) -> MergedReport:
    """One report of the shares of a batch.

    Where shares are missing it says which, and counts their images as cancelled: nobody can take it for a whole one.

    Args:
        reports: at least one.

    Raises:
        Invalid: they are of different batches, of different numbers of shares, or of one share twice.
    """
    _check_together(reports)
    shard = reports[0].header.shard
    there = {report.share.number for report in reports}
    # A share without an image is not missed: there may be more shares than images.
    with_images = range(1, min(shard.of, shard.images) + 1)
    missing = tuple(number for number in with_images if number not in there)
    missing_images = sum(len(Share(number, shard.of).numbers(shard.images)) for number in missing)
    totals = [report.header.totals for report in reports]
    done, failed = sum(each.done for each in totals), sum(each.failed for each in totals)
    cancelled = sum(each.cancelled for each in totals) + missing_images
    times = Times(
        min(report.header.times.submitted_at for report in reports),
        max(report.header.times.finished_at for report in reports),
    )
    header = {name: value for name, value in reports[0].document.items() if name != "shard"}
    header["state"] = final_state(done, failed, cancelled)
    header["totals"] = {
        "images": shard.images,
        "done": done,
        "failed": failed,
        "cancelled": cancelled,
        "outputs": sum(each.outputs for each in totals),
        "skipped": totals[0].skipped,
    }
    header["times"] = times.document()
    header["forecast"] = ForecastEntry.of_the_local_engine(times.seconds).document()
    if missing:
        header["missing"] = {"shards": list(missing), "of": shard.of, "images": missing_images}
    return MergedReport(header, missing, shard.of, missing_images, reports)


def _check_together(reports: Sequence[ShareReport]) -> None:
    first = reports[0]
    faults: list[Fault] = []
    seen: dict[int, str] = {}
    for report in reports:
        problem = _difference(first, report)
        if problem is None and report.share.number in seen:
            problem = f"share {report.share} is also {seen[report.share.number]}; give one of them"
        if problem is not None:
            faults.append(Fault(report.name, problem))
        seen.setdefault(report.share.number, report.name)
    if faults:
        raise Invalid(tuple(faults[:MAX_FAULTS]))


def _difference(first: ShareReport, other: ShareReport) -> str | None:
    """Why two reports are not of one batch, or `None`."""
    for name in (*first.document, *other.document):
        if name not in _OF_A_RUN and first.document.get(name) != other.document.get(name):
            its, that = (json.dumps(each.document.get(name))[:80] for each in (other, first))
            return f"of another batch: its {name} is {its}, that of {first.name} is {that}"
    mine, theirs = other.header.shard, first.header.shard
    if mine.of != theirs.of:
        return f"a share of {mine.of}; {first.name} is one of {theirs.of}"
    if (mine.images, mine.images_sha256) != (theirs.images, theirs.images_sha256):
        return (
            f"its batch has another list of images ({mine.images}) than that of {first.name} ({theirs.images}): "
            "the source changed between the shares; run all shares again, or name the images in a manifest"
        )
    return None


def _invalid(name: str, problem: str) -> Invalid:
    return Invalid((Fault(name, problem),))
