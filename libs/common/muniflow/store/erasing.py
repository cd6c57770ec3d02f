"""Removes what a batch has left in the stores: outputs, reports, uploads. Repeated after a crash, it goes on.

Which files of a destination are the batch's: those that are named as outputs of its images, whatever the route and the
format of the run that made them, and its reports. What the report of another batch names stays.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.model.keys import REPORT, SHARE_REPORT, UPLOADS, is_upload, output_key
from muniflow.model.report_redacted import read_header, without_image
from muniflow.model.report_rows import entry_lines, lines_of
from muniflow.model.report_schema import ReportEntry
from muniflow.store.types import KeepsUnfinished, Store

READ_BYTES = 256 * 1024
UNFINISHED_S = 60.0
"""A file without a name to which nothing was written for so long belongs to a killed process."""
_REPORTS = re.compile(rf"{re.escape(REPORT)}|report-r[0-9]+\.json|{SHARE_REPORT.pattern}")
_OUTPUT = re.compile(r"(?P<stem>.*)-[0-9]+\.[a-z]+", re.DOTALL)
Stopped = Callable[[], bool]


@dataclass
class Erased:
    """How much was removed."""

    outputs: int = 0
    reports: int = 0
    uploads: int = 0
    kept: int = 0
    """Outputs that the report of another batch names."""
    unnamed: bool = False
    """Whether nothing says what its outputs are called, so that they stay: the report of an archived batch is gone."""

    def __str__(self) -> str:
        kept = f", {self.kept} outputs kept that another report names" if self.kept else ""
        lost = ", its report is gone, so look for outputs that are left" if self.unnamed else ""
        return f"{self.outputs} outputs, {self.reports} reports, {self.uploads} uploaded images{kept}{lost}"


@dataclass(frozen=True)
class OutputEraser:
    """The outputs and reports of one batch, or of some of its images."""

    store: Store
    batch_id: str
    destination: str
    stopped: Stopped
    """Whether to end early."""
    stems: set[int] = field(default_factory=set)
    """Hashes of the stems of its images: a million strings would take a hundred megabytes."""

    def add(self, stem: str) -> None:
        """Erase the outputs of this image."""
        self.stems.add(hash(stem))

    def erase(self, done: Erased) -> None:
        """Remove the outputs, then the reports of the batch.

        Raises:
            Unavailable: the store is away, or `stopped`.
        """
        own, named = self._reports()
        self._erase_outputs(named, done)
        for key in own:
            self.store.delete(key)
            done.reports += 1
        if not named and next(self._blobs(), None) is None:
            self.store.delete_prefix(f"{self.destination}/")  # the folders of a volume have names, too

    def erase_image(self, image: int, done: Erased) -> None:
        """Remove the outputs of one image, and what the reports of the batch say of it.

        Raises:
            Unavailable: the store is away, or `stopped`.
        """
        own, named = self._reports()
        self._erase_outputs(named, done)
        for key in own:
            report = without_image(partial(_read_elsewhere, self.store, key), image)
            self.store.write(key, report, durable=True)
            done.reports += 1

    def _erase_outputs(self, named: set[str], done: Erased) -> None:
        prefix = f"{self.destination}/"
        for blob in self._blobs():
            found = _OUTPUT.fullmatch(blob.removeprefix(prefix))
            if found is None or hash(found["stem"]) not in self.stems:
                continue
            if blob in named:
                done.kept += 1
            else:
                self.store.delete(blob)
                done.outputs += 1

    def _reports(self) -> tuple[list[str], set[str]]:
        """The reports of the batch, and what those of other batches name."""
        prefix = f"{self.destination}/"
        above = accumulate(self.destination.split("/")[:-1], lambda folder, part: f"{folder}/{part}")
        found = [key for folder in above if self.store.size(key := output_key(folder, REPORT)) is not None]
        found += [key for key in self._blobs() if _REPORTS.fullmatch(key.rpartition("/")[2])]
        own, named = [], set[str]()
        for key in found:
            try:
                header = read_header(next(lines_of(_chunks(self.store, key)), b""))
                if header["batch_id"] == self.batch_id and key.startswith(prefix):
                    own.append(key)
                elif header["batch_id"] != self.batch_id:
                    named.update(self._named(key))
            except (NotFound, Rejected):
                continue  # no report of ours, whatever its name
        return own, named

    def _named(self, key: str) -> Iterator[str]:
        for line in entry_lines(_chunks(self.store, key)):
            yield from ReportEntry.model_validate_json(line).outputs

    def _blobs(self) -> Iterator[str]:
        for blob in self.store.list(f"{self.destination}/"):
            if self.stopped():
                raise Unavailable("the coordinator", "it is stopping")
            yield blob.key


def erase_uploads(store: Store, batch_id: str, stopped: Stopped, *, name: str | None = None) -> int:
    """Remove the images that were sent with a batch, also with requests that were given up; returns how many.

    Args:
        store: the source store.
        batch_id: of the batch.
        stopped: whether to end early.
        name: only the image of this name.

    Raises:
        Unavailable: the store is away, or `stopped`.
    """
    count, depth, folders = 0, UPLOADS.count("/") + 2, set[str]()
    for blob in store.list(f"{UPLOADS}/"):
        if stopped():
            raise Unavailable("the coordinator", "it is stopping")
        folder = "/".join(blob.key.split("/")[:depth]) + "/"
        if is_upload(folder, batch_id) and name in {None, blob.key.removeprefix(folder)}:
            store.delete(blob.key)
            folders.add(folder)
            count += 1
    for folder in folders if name is None else ():
        store.delete_prefix(folder)
    return count


def erase_unfinished(store: Store, destination: str, now_s: float, stopped: Stopped) -> None:
    """Remove files of killed processes that never got their names.

    Raises:
        Unavailable: the store is away.
    """
    if isinstance(store, KeepsUnfinished):
        store.remove_unfinished(f"{destination}/", now_s - UNFINISHED_S, stopped)


def _read_elsewhere(store: Store, key: str) -> Iterator[bytes]:
    """The same in another thread: an object store takes no call in the thread that asks for what it writes."""
    chunks = _chunks(store, key)
    with ThreadPoolExecutor(1, "erasing-read") as pool:
        while chunk := pool.submit(next, chunks, b"").result():
            yield chunk


def _chunks(store: Store, key: str) -> Iterator[bytes]:
    with store.open(key) as stream:
        yield from iter(partial(stream.read, READ_BYTES), b"")
