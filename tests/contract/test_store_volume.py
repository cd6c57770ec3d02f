"""A whole volume synced at once: when it is done, when files are synced one by one instead, and what errors mean."""

import errno
import gc
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniflow.errors import NotFound, Unavailable
from muniflow.store import volume
from muniflow.store.local import LocalStore
from muniflow.store.volume import PAUSE_FACTOR, SLOW_S, Volume, file_system_of, syncfs

KEYS = ["a/1", "a/2", "b/c/3"]


class Disk:
    """The real system calls, counted; `syncfs` can be slow or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file_system: str = "ext4") -> None:
        self.now_s = 1000.0
        self.takes_s = 0.0
        self.error = 0
        self.whole: list[str] = []
        self.files = 0
        monkeypatch.setattr(volume, "file_system_of", lambda _: file_system)
        monkeypatch.setattr(volume, "syncfs", lambda: self._sync_all)
        self._call, self._fsync = syncfs(), os.fsync
        monkeypatch.setattr(os, "fsync", self._sync_file)

    def _sync_all(self, fd: int) -> None:
        self.whole.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        self.now_s += self.takes_s
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        assert self._call is not None
        self._call(fd)

    def _sync_file(self, fd: int) -> None:
        self.files += 1
        self._fsync(fd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if syncfs() is None:
        pytest.skip("this system has no syncfs that tells of errors")
    place = tmp_path / "root"
    place.mkdir()
    return place


def written(root: Path, disk: Disk) -> LocalStore:
    store = LocalStore(root)
    store._volume = Volume(str(root), lambda: disk.now_s)
    for key in KEYS:
        store.write(key, key.encode())
    disk.files = 0
    return store


def test_one_call_syncs_all_that_was_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    store = written(root, disk)
    store.sync(KEYS, whole_volume=True)
    assert (disk.whole, disk.files) == ([str(root)], 0)
    assert [bytes(store.read(key)) for key in KEYS] == [key.encode() for key in KEYS]


def test_nobody_asked_for_the_whole_volume(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    written(root, disk).sync(KEYS)
    assert disk.whole == []
    assert disk.files == len(KEYS) + len(["root", "a", "b", "b/c"])


@pytest.mark.parametrize("file_system", ["nfs4", "fuse.sshfs", "tmpfs", None])
def test_a_file_system_that_is_not_known_to_keep_the_promise_is_synced_file_by_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, file_system: str
) -> None:
    disk = Disk(monkeypatch, file_system)
    written(root, disk).sync(KEYS, whole_volume=True)
    assert disk.whole == []
    assert disk.files


def test_a_store_that_did_not_watch_its_writes_would_miss_their_errors(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    written(root, disk)
    LocalStore(root).sync(KEYS, whole_volume=True)
    assert disk.whole == []
    assert disk.files


def test_a_blob_that_is_not_there_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    store = written(root, disk)
    (root / "a/2").unlink()
    with pytest.raises(NotFound, match="a/2"):
        store.sync(KEYS, whole_volume=True)
    assert disk.whole == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_could_not_be_written_makes_the_work_be_done_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    disk = Disk(monkeypatch)
    store = written(root, disk)
    disk.error = number
    with pytest.raises(Unavailable, match=os.strerror(number)):
        store.sync(KEYS, whole_volume=True)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_sandbox_that_forbids_the_call_costs_no_work(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    disk = Disk(monkeypatch)
    store = written(root, disk)
    disk.error = number
    for _ in range(2):
        disk.files = 0
        store.sync(KEYS, whole_volume=True)
        assert disk.files == len(KEYS) + len(["root", "a", "b", "b/c"])
    assert len(disk.whole) == 1


def test_a_store_that_is_gone_holds_no_descriptor(root: Path) -> None:
    def of_root() -> int:
        links = list(Path("/proc/self/fd").iterdir())
        return sum(link.is_symlink() and str(link.readlink()) == str(root) for link in links)

    for _ in range(3):
        LocalStore(root).write("a", b"x")
    gc.collect()
    assert of_root() == 0
    store = LocalStore(root)
    store.write("a", b"x")
    assert of_root() == 1


def test_a_slow_volume_is_left_alone_for_a_while(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    store = written(root, disk)
    disk.takes_s = SLOW_S * 2
    store.sync(KEYS, whole_volume=True)
    assert (len(disk.whole), disk.files) == (1, 0)
    disk.now_s += disk.takes_s * PAUSE_FACTOR - 1
    store.sync(KEYS, whole_volume=True)
    assert len(disk.whole) == 1
    assert disk.files
    disk.now_s += 1
    disk.takes_s = 0.0
    for count in (2, 3):
        store.sync(KEYS, whole_volume=True)
        assert len(disk.whole) == count


def test_a_volume_mounted_below_the_root_is_not_forgotten(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "b").mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "none", root / "b"], check=False, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"cannot mount a volume here: {mount.stderr.strip()}")
    try:
        disk = Disk(monkeypatch)
        store = written(root, disk)
        store.sync(KEYS[:2], whole_volume=True)
        assert (len(disk.whole), disk.files) == (1, 0)
        store.sync(KEYS, whole_volume=True)
        assert len(disk.whole) == 1
        assert disk.files == len(KEYS) + len(["root", "a", "b", "b/c"])
    finally:
        subprocess.run(["umount", "-l", root / "b"], check=True)


def test_the_type_of_a_file_system_is_read_from_the_mounts() -> None:
    assert file_system_of(Path("/proc").stat().st_dev) == "proc"
    assert file_system_of(os.makedev(4095, 4095)) is None


@pytest.mark.parametrize(
    ("system", "release", "there"),
    [
        ("Linux", "5.8.0-rc1", True),
        ("Linux", "6.18.44", True),
        ("Linux", "5.7.19", False),
        ("Linux", "4.18.0-553.el8", False),
        ("Linux", "unknown", False),
        ("Darwin", "24.1.0", False),
    ],
)
def test_an_old_kernel_would_hide_errors(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, *, there: bool
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "release", lambda: release)
    assert (syncfs() is not None) == there


def test_an_error_of_the_call_is_an_oserror(root: Path) -> None:
    call, fd = syncfs(), os.open(root, os.O_RDONLY)
    os.close(fd)
    assert call is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        call(fd)


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """An image of a disk with ext4, mounted at `disk` beside it."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for command in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        except FileNotFoundError as error:
            pytest.skip(f"there is no {error.filename} here")
        if done.returncode:
            pytest.skip(f"cannot mount a disk here: {done.stderr.strip()}")
    yield image
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("whole_volume", [True, False, None], ids=["whole volume", "file by file", "no sync"])
def test_what_was_synced_survives_a_power_failure(ext4: Path, tmp_path: Path, *, whole_volume: bool | None) -> None:
    """The disk's bytes of one moment, as a power failure leaves them: the journal is replayed when they are mounted."""
    store = LocalStore(tmp_path / "disk" / "root")
    written = {f"{number % 3}/folder/{number}": str(number).encode() * 5000 for number in range(100)}
    for key, data in written.items():
        store.write(key, data)
    if whole_volume is not None:
        store.sync(list(written), whole_volume=whole_volume)
    after, place = tmp_path / "after", tmp_path / "mounted-again"
    shutil.copyfile(ext4, after)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", after, place], check=True, timeout=60)
    try:
        found = {
            key
            for key, data in written.items()
            if (path := place / "root" / key).exists() and path.read_bytes() == data
        }
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    if whole_volume is None:
        assert found != set(written), "this disk loses nothing, so it proves nothing"
    else:
        assert found == set(written)
