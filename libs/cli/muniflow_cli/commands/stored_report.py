"""The report that a command line names: the id of a batch of the stack, a file, a folder, or the address of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from muniflow_cli.commands.named_file import FILE_SCHEME, named_file

if TYPE_CHECKING:
    from muniflow.model.messages import BatchState
    from muniflow.store.types import Store
    from muniflow_cli.commands.target import Target
    from muniflow_cli.engine.verify import Places

_CHUNK_BYTES = 1 << 18


def places_of(given: str, target: "Target", source: str | None, *, sources: bool = True) -> "Places":
    """Where a report and the files that it names are.

    Args:
        given: the id of a batch, a report, the folder of one, or the address of either in a store.
        target: the stack that knows the batch.
        source: the store of the sources; `None`: that of `target`.
        sources: whether they are wanted at all.

    Raises:
        Invalid: there is no such report.
        NotFound: the batch has none yet.
        Unavailable: a store or the coordinator is away.
    """
    from muniflow.errors import Fault, Invalid
    from muniflow.store.open import open_store
    from muniflow_cli.engine.verify import Places

    address = _address(given, target)
    file = named_file(address)
    if file.store.size(file.key) is None:
        raise Invalid((Fault(given, f"there is no {address}"),))

    def chunks() -> Iterator[bytes]:
        with file.store.open(file.key) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    store = open_store(source or target.stores.source_url) if sources else None
    return Places(chunks, file.key, file.store, store)


def _address(given: str, target: "Target") -> str:
    from muniflow.model.keys import REPORT

    path = Path(given.removeprefix(FILE_SCHEME))
    if path.is_dir():
        return str(path / REPORT)
    if "://" in given and not given.startswith(FILE_SCHEME):
        return given if given.endswith(".json") else f"{given.rstrip('/')}/{REPORT}"
    if path.exists() or "/" in given or given.endswith(".json") or target.coordinator_url is None:
        return given
    _, key, _ = stored_report(target, given)
    return f"{target.stores.output_url.rstrip('/')}/{key}"


def stored_report(target: "Target", batch: str) -> "tuple[Store, str, BatchState]":
    """The store and the key of a report, and the state of its batch.

    Raises:
        NotFound: there is none yet.
    """
    from muniflow.errors import NotFound
    from muniflow.model.keys import REPORT, output_key
    from muniflow.store.open import open_store
    from muniflow_cli.commands.client import CoordinatorApi

    status = CoordinatorApi(target.require_coordinator()).batch(batch)
    if status.report is None and status.finished_at is None:
        raise NotFound(f"batch {batch!r} is {status.state}; its report is written when it ends: muniflow watch {batch}")
    key = status.report or output_key(status.destination, REPORT)
    return open_store(target.stores.output_url), key, status.state
