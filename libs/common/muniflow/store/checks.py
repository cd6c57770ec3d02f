"""What all backends share: refusing a bad key or range, and trying out a store. Pure but for `probe`."""

import secrets
from collections.abc import Callable, Iterable, Iterator

from muniflow.errors import MuniflowError, NotFound, Rejected, Unavailable
from muniflow.model.keys import CHECKS, UPLOADS, stored_key_problem
from muniflow.store.types import Store

PROBE = b"muniflow"


def require_key(key: str) -> None:
    """Raise `Rejected` for a key that `stored_key_problem` refuses."""
    problem = stored_key_problem(key)
    if problem:
        raise Rejected(f"key {key!r}: {problem}", reason_code="source_unreadable")


def require_prefix(prefix: str, *, allow_empty: bool) -> None:
    """Raise `Rejected` unless `prefix` is a key and a `/` (or empty, where that is allowed: it means everything)."""
    if not prefix and allow_empty:
        return
    if not prefix.endswith("/"):
        raise Rejected(f"prefix {prefix!r}: a prefix ends in '/'", reason_code="source_unreadable")
    # All uploads together are listed, to erase those of one batch, and never removed.
    problem = None if allow_empty and prefix == f"{UPLOADS}/" else stored_key_problem(prefix[:-1])
    if problem:
        raise Rejected(f"prefix {prefix!r}: {problem}", reason_code="source_unreadable")


def range_length(key: str, size_bytes: int, offset_bytes: int, length_bytes: int | None) -> int:
    """Length of a range of a blob, in bytes.

    Raises:
        Rejected: there is no such range in any blob.
        NotFound: the blob ends before the range does.
    """
    length = size_bytes - offset_bytes if length_bytes is None else length_bytes
    if offset_bytes < 0 or length < 0 or offset_bytes + length > size_bytes:
        end = "the end" if length_bytes is None else str(offset_bytes + length_bytes)
        text = f"blob {key!r} has {size_bytes} bytes; bytes {offset_bytes} to {end} were asked for"
        if offset_bytes >= 0 and (length_bytes or 0) >= 0:
            raise NotFound(text)
        raise Rejected(text, reason_code="internal_error")
    return length


class Watched:
    """Chunks on their way into a store, counted; an error of their source is kept apart from the store's own."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size_bytes = 0
        """Bytes given out so far."""
        self.error: Exception | None = None
        """What the source raised, if it did."""

    def __iter__(self) -> Iterator[bytes]:
        """The chunks, as they are."""
        try:
            for chunk in self._chunks:
                self.size_bytes += len(chunk)
                yield chunk
        except Exception as error:
            self.error = error
            raise


def problem_of(write: Callable[[], object]) -> MuniflowError | None:
    """Call `write`; returns the error that stopped it, as `Store.write_many` does."""
    try:
        write()
    except MuniflowError as error:
        return error
    return None


def probe(store: Store) -> None:
    """Write, read and delete a small blob of a name that no one else uses.

    Raises:
        Unavailable: one of them fails, or the store gives back other bytes.
    """
    key = f"{CHECKS}/{secrets.token_hex(8)}"
    store.write(key, PROBE)
    try:
        found = bytes(store.read(key))
    finally:
        store.delete(key)
    if found != PROBE:
        raise Unavailable("blob store", f"{PROBE!r} was written and {found!r} read back")
