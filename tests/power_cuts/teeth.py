"""What the product says is durable, one thing at a time, in a process whose power goes right after it has said so."""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.power_cuts.volumes import Volume

from muniflow.errors import NotFound
from muniflow.runtime.failpoints import VARIABLE, Failpoints
from muniflow.store.local import LocalStore
from muniflow_coordinator.state.opening import open_state
from muniflow_coordinator.state.types import ImageRow, NewBatch

DATA = bytes(range(256)) * 64
LARGE = bytes(range(256)) * 4096
MANY_KEYS = tuple(f"batch/out/{number}.png" for number in range(64))
"""So many that a disk has not written all of them by itself when it is asked to sync their folder."""
KEYS = tuple(f"batch/out/{number}.png" for number in range(3))
BATCH = NewBatch("b", "f", "{}", "", 1, "b", 1.0)
SAID = "durable"
LIMIT_S = 30.0

Do = Callable[[Path, Failpoints], None]
Whole = Callable[[Path], bool]


def _blobs(folder: Path, *keys: str, data: bytes = DATA) -> bool:
    store = LocalStore(folder)
    try:
        return all(bytes(store.read(key)) == data for key in keys)
    except NotFound:
        return False


def _write(folder: Path, failpoints: Failpoints) -> None:
    LocalStore(folder, failpoints).write("batch/out/0.png", DATA, durable=True)


def _stream(folder: Path, failpoints: Failpoints) -> None:
    LocalStore(folder, failpoints).write("batch/out/0.png", iter([DATA]), durable=True)


def _create(folder: Path, failpoints: Failpoints) -> None:
    assert LocalStore(folder, failpoints).create("batch/out/0.png", DATA)


def _outputs(folder: Path, failpoints: Failpoints, *, whole_volume: bool = False) -> None:
    store = LocalStore(folder, failpoints)
    assert not any(store.write_many([(key, memoryview(DATA)) for key in KEYS]))
    store.sync(KEYS, whole_volume=whole_volume)


def _many_outputs(folder: Path, failpoints: Failpoints) -> None:
    store = LocalStore(folder, failpoints)
    assert not any(store.write_many([(key, memoryview(LARGE)) for key in MANY_KEYS]))
    store.sync(MANY_KEYS)


def _ledger(folder: Path, failpoints: Failpoints) -> None:
    state = open_state(f"sqlite:///{folder}/ledger.sqlite", failpoints=failpoints)
    state.take_over("a test")
    os.sync()  # the tables are old
    state.insert_batch(BATCH, [ImageRow(0, "a", ".png")])


def _in_ledger(folder: Path) -> bool:
    state = open_state(f"sqlite:///{folder}/ledger.sqlite")
    try:
        return state.find(BATCH.id) is not None
    finally:
        state.close()


def _one(folder: Path) -> bool:
    return _blobs(folder, "batch/out/0.png")


def _all(folder: Path) -> bool:
    return _blobs(folder, *KEYS)


DURABLE: Mapping[str, tuple[Do, Whole]] = {
    "a file": (_write, _one),
    "a stream": (_stream, _one),
    "a new file": (_create, _one),
    "outputs": (_outputs, _all),
    "many outputs": (_many_outputs, lambda folder: _blobs(folder, *MANY_KEYS, data=LARGE)),
    "outputs of whole routes": (lambda folder, points: _outputs(folder, points, whole_volume=True), _all),
    "a batch in the ledger": (_ledger, _in_ledger),
}


@dataclass(frozen=True)
class Tooth:
    """Syncs that are left out together, and what that concerns."""

    left_out: tuple[str, ...]
    what: tuple[str, ...]
    lost: bool = True
    on: tuple[str, ...] = ("ext4", "xfs")
    """File systems of which that is certain."""


ONE = ("a file", "a stream", "a new file")
TEETH = (
    Tooth(("store.sync_file",), ONE),
    Tooth(("store.sync_name",), ONE),
    # On ext4 the sync of the folders, which follows, brings along all bytes that are on their way already.
    Tooth(("store.sync_outputs",), ("many outputs",), on=("xfs",)),
    Tooth(("store.sync_outputs", "store.sync_output_names"), ("outputs",)),
    Tooth(("store.sync_volume",), ("outputs of whole routes",)),
    Tooth(("ledger.sync",), ("a batch in the ledger",)),
    # POSIX asks for these. The logs of ext4 and XFS keep all changes of folders in their order, so that the sync of a
    # file brings along those before it.
    Tooth(("store.sync_new_folder",), ONE, lost=False),
    Tooth(("store.sync_output_names",), ("outputs",), lost=False),
)


def survives(volume: Volume, what: str, left_out: Sequence[str] = ()) -> bool:
    """Whether something that was said to be durable is whole after a cut."""
    folder = volume.folder / " ".join([what, *left_out]).replace(" ", "-")
    folder.mkdir()
    volume.settle()
    failpoints = Failpoints.from_env({VARIABLE: ",".join(f"{sync}=skip" for sync in left_out)})
    forked = multiprocessing.get_context("fork")
    here, there = forked.Pipe()
    process = forked.Process(target=_say, args=(there, DURABLE[what][0], folder, failpoints))
    process.start()
    assert here.poll(LIMIT_S), f"{what}: not durable within {LIMIT_S:.0f} s"
    assert here.recv() == SAID
    volume.cut()
    process.kill()
    process.join()
    volume.restore()
    return DURABLE[what][1](folder)


def _say(there: Connection, do: Do, folder: Path, failpoints: Failpoints) -> None:
    do(folder, failpoints)
    there.send(SAID)
    there.recv()  # until it is killed
