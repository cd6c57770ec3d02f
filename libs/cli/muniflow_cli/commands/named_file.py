"""Files that a command line names, on this machine or in a store: `results/report.json`, `s3://bucket/batch.json`."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from muniflow.store.types import Store

FILE_SCHEME = "file://"


class NamedFile(NamedTuple):
    """A file by the store that holds it."""

    name: str
    """As it was given."""
    store: "Store"
    key: str

    def read(self) -> bytes:
        """All of it.

        Raises:
            Invalid: it is not there.
            Unavailable: its store is away.
        """
        from muniflow.errors import Fault, Invalid, NotFound

        try:
            return bytes(self.store.read(self.key))
        except NotFound:
            raise Invalid((Fault(self.name, "there is no such file"),)) from None


def existing_file(given: str) -> str:
    """The type of an argument: a file of this machine, checked to be there, or the address of one in a store."""
    return given if "://" in given else str(click.Path(exists=True, dir_okay=False).convert(given, None, None))


def named_file(given: str) -> NamedFile:
    """The file that a name leads to.

    Raises:
        Invalid: it is no file name, or the address of no store.
    """
    from muniflow.errors import Fault, Invalid
    from muniflow.store.open import open_store

    path = given.removeprefix(FILE_SCHEME)
    parent, slash, key = path.rpartition("/")
    if not key or ("://" in path and "://" not in parent):
        raise Invalid((Fault(given or "''", "not the name of a file"),))
    return NamedFile(given, open_store(parent or slash or "."), key)


def read_named_file(given: str) -> bytes:
    """All of a file of this machine (which may be a pipe), or of one in a store."""
    return named_file(given).read() if "://" in given else Path(given).read_bytes()
