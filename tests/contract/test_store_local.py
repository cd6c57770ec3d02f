"""What only a local volume has: links, full disks, permissions, litter, descriptors."""

import errno
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.runtime.failpoints import Failpoints
from muniflow.store.folders import TEMPORARY
from muniflow.store.local import SYNC_FILES, LocalStore
from muniflow.store.whole_file import NAMELESS

HERE = Path(__file__).parent
NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> LocalStore:
    root.mkdir()
    return LocalStore(root)


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of 1 MiB."""
    place = tmp_path / "volume"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=False, capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small volume here: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def outside(tmp_path: Path, store: LocalStore, root: Path) -> Path:
    """A folder with a secret beside the root, and three links to it in the root."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_bytes(b"secret")
    store.write("folder/real", b"real")
    (root / "folder/file").symlink_to(place / "secret")
    (root / "folder/absolute").symlink_to(place)
    (root / "relative").symlink_to("../outside")
    return place


LINKED_KEYS = ["folder/file", "folder/absolute/secret", "relative/secret", "relative"]


@pytest.mark.parametrize("key", LINKED_KEYS)
@pytest.mark.usefixtures("outside")
def test_a_link_is_never_followed(store: LocalStore, key: str) -> None:
    calls: list[Callable[[], object]] = [lambda: store.read(key), lambda: store.open(key), lambda: store.size(key)]
    for call in calls:
        with pytest.raises(Rejected, match="symbolic link") as caught:
            call()
        assert not isinstance(caught.value, NotFound)


def test_nothing_is_written_or_removed_through_a_link(store: LocalStore, outside: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.write("relative/new", b"x"),
        lambda: store.write("folder/absolute/new/new", b"x"),
        lambda: store.delete("relative/secret"),
        lambda: store.delete_prefix("relative/"),
        lambda: list(store.list("relative/")),
    ]
    for call in calls:
        with pytest.raises(Rejected, match="symbolic link"):
            call()
    store.write("folder/file", b"in place of the link")
    store.delete("folder/absolute")
    store.delete_prefix("folder/")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


@pytest.mark.usefixtures("outside")
def test_links_and_pipes_are_not_listed(store: LocalStore, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert [blob.key for blob in store.list()] == ["folder/real"]
    with pytest.raises(Rejected, match="a pipe"):
        store.read("pipe")


def test_a_link_to_the_root_is_the_same_place(tmp_path: Path, store: LocalStore) -> None:
    (tmp_path / "up").symlink_to(".")
    (tmp_path / "link").symlink_to("up/root")
    assert LocalStore(tmp_path / "link").location() == store.location()
    assert LocalStore(tmp_path / "link/new/in").location().parts == (*store.location().parts, "new", "in")


def test_the_root_itself_may_be_a_link(tmp_path: Path, store: LocalStore) -> None:
    (tmp_path / "link").symlink_to("root")
    LocalStore(tmp_path / "link").write("a/b", b"x")
    assert bytes(store.read("a/b")) == b"x"


def test_a_missing_root_is_trouble_for_readers_and_made_by_the_first_write(root: Path) -> None:
    store = LocalStore(root / "deep")
    calls: list[Callable[[], object]] = [lambda: store.read("a"), lambda: store.open("a"), lambda: list(store.list())]
    for call in calls:
        with pytest.raises(Unavailable, match="is its volume mounted"):
            call()
    assert store.size("a") is None
    store.delete("a")
    store.delete_prefix("a/")
    assert not root.exists()
    store.write("a", b"x")
    assert bytes(store.read("a")) == b"x"


def test_a_root_that_is_a_file_is_trouble(root: Path) -> None:
    root.write_bytes(b"")
    store = LocalStore(root)
    calls: list[Callable[[], object]] = [lambda: store.read("a"), lambda: store.size("a"), store.check]
    for call in calls:
        with pytest.raises(Unavailable):
            call()


def test_a_name_is_a_file_or_a_folder(store: LocalStore) -> None:
    store.write("a/b", b"x")
    for key, reason in [("a", "it is a folder"), ("a/b/c", "is not a folder")]:
        with pytest.raises(Rejected, match=reason):
            store.write(key, b"x")
    assert [blob.key for blob in store.list()] == ["a/b"]


def test_a_path_too_long_for_the_volume_is_rejected(store: LocalStore) -> None:
    store.write("/".join(["x" * 254] * 4), b"x")
    with pytest.raises(Rejected):
        store.write("é" * 128, b"x")


def test_a_full_disk_is_trouble_and_leaves_no_litter(small_volume: Path) -> None:
    store = LocalStore(small_volume)
    store.write("a/old", b"old")
    for data in (b"x" * (2 << 20), iter([b"x" * (1 << 19)] * 4)):
        with pytest.raises(Unavailable, match="No space left"):
            store.write("a/old", data)
    assert os.listdir(small_volume / "a") == ["old"]  # noqa: PTH208 - hidden names count
    assert bytes(store.read("a/old")) == b"old"
    store.write("a/new", b"x" * (1 << 19))


def test_a_read_only_volume_can_be_read(small_volume: Path) -> None:
    store = LocalStore(small_volume)
    store.write("a/blob", b"x")
    subprocess.run(["mount", "-o", "remount,ro", small_volume], check=True)
    assert bytes(store.read("a/blob")) == b"x"
    calls: list[Callable[[], object]] = [
        lambda: store.write("a/blob", b"y"),
        lambda: store.write("b/c", b"y"),
        lambda: store.delete("a/blob"),
        lambda: store.delete_prefix("a/"),
        store.check,
    ]
    for call in calls:
        with pytest.raises(Unavailable, match="Read-only"):
            call()
    assert [blob.key for blob in store.list()] == ["a/blob"]


def test_a_mount_point_is_emptied_and_left(tmp_path: Path, small_volume: Path) -> None:
    store = LocalStore(tmp_path)
    store.write(f"{small_volume.name}/a/b", b"x")
    store.delete_prefix(f"{small_volume.name}/")
    assert list(small_volume.iterdir()) == []
    assert list(store.list()) == []


def test_a_blob_beyond_the_file_size_limit_is_rejected(store: LocalStore, root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Rejected, match="ulimit"):
            store.write("blob", b"x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(root.iterdir()) == []


def test_a_root_without_permission_names_the_user_and_the_folder(store: LocalStore, root: Path) -> None:
    store.write("blob", b"x")
    user = os.geteuid()
    root.chmod(0)
    if user == 0:  # root is refused nothing
        os.seteuid(NOBODY)
    try:
        calls: list[Callable[[], object]] = [
            lambda: store.read("blob"),
            lambda: store.write("blob", b"y"),
            lambda: store.size("blob"),
            lambda: store.delete("blob"),
            lambda: list(store.list()),
        ]
        for call in calls:
            with pytest.raises(Unavailable, match=rf"root: Permission denied \(user {os.geteuid()} needs"):
                call()
    finally:
        os.seteuid(user)
        root.chmod(0o755)


def never() -> bool:
    return False


def test_what_killed_writers_left_is_removed_once_it_is_old(store: LocalStore, root: Path) -> None:
    subprocess.run([sys.executable, str(HERE / "store_crash.py"), str(root)], check=False, timeout=60)
    store.write("folder/below/kept", b"x")
    [left] = (root / "folder").glob(f"{TEMPORARY}*")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / left.name).write_bytes(b"beside the prefix")
    (root / "folder" / "link").symlink_to(root / "elsewhere")
    old = root / "folder" / "below" / f"{TEMPORARY}old"
    old.write_bytes(b"half")
    now_s = time.time()
    os.utime(old, (now_s - 3600, now_s - 3600))
    assert store.remove_unfinished("nothing/", now_s + 60, never) == 0
    assert store.remove_unfinished("folder/", now_s + 60, lambda: True) == 0
    assert store.remove_unfinished("folder/", now_s - 60, never) == 1
    assert (old.exists(), left.exists()) == (False, True)
    assert store.remove_unfinished("folder/", now_s + 60, never) == 1
    assert [blob.key for blob in store.list("folder/")] == ["folder/below/kept"]
    assert (root / "elsewhere" / left.name).exists()


@pytest.fixture
def no_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS, say."""
    monkeypatch.setattr("muniflow.store.whole_file.NAMELESS", os.O_WRONLY)


@pytest.mark.usefixtures("no_nameless_files")
def test_a_writer_whose_file_is_taken_away_writes_it_again(root: Path) -> None:
    taken: list[int] = []

    def take_away() -> None:
        if not taken:
            taken.append(LocalStore(root).remove_unfinished("folder/", time.time() + 60, never))

    store = LocalStore(root, Failpoints({"store.after_temp_write": take_away}))
    assert store.write("folder/blob", b"all of it") == 9
    assert taken == [1]
    assert bytes(store.read("folder/blob")) == b"all of it"
    taken.clear()
    with pytest.raises(Unavailable):
        store.write("folder/stream", iter([b"only", b"once"]))
    assert taken == [1]


def test_what_a_killed_writer_left_is_hidden_and_goes_with_its_folder(store: LocalStore, root: Path) -> None:
    done = subprocess.run([sys.executable, str(HERE / "store_crash.py"), str(root)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in (root / "folder").iterdir()]
    assert len(left) == 1
    assert left[0].startswith(TEMPORARY)
    assert list(store.list()) == []
    for call in (store.read, store.size, lambda key: store.write(key, b"x")):
        with pytest.raises(Rejected, match="hidden files"):
            call(f"folder/{left[0]}")
    store.delete_prefix("folder/")
    assert list(root.iterdir()) == []


def test_a_writer_that_fails_before_the_name_leaves_nothing(root: Path) -> None:
    def fail() -> None:
        seen.append([path.name for path in (root / "folder").iterdir()])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    seen: list[list[str]] = []
    store = LocalStore(root, Failpoints({"store.after_temp_write": fail}))
    with pytest.raises(Unavailable):
        store.write("folder/blob", b"all of it")
    assert list((root / "folder").iterdir()) == []
    if nameless_files(root):
        assert seen == [[]]


def test_a_name_that_is_taken_is_replaced_and_nothing_else_is_left(store: LocalStore, root: Path) -> None:
    for data in (b"first", b"second"):
        store.write("folder/blob", data)
        assert bytes(store.read("folder/blob")) == data
    assert [path.name for path in (root / "folder").iterdir()] == ["blob"]
    (root / "folder" / "taken").mkdir()
    with pytest.raises(Rejected, match="it is a folder"):
        store.write("folder/taken", b"x")
    assert sorted(path.name for path in (root / "folder").iterdir()) == ["blob", "taken"]


def nameless_files(root: Path) -> bool:
    try:
        os.close(os.open(root, NAMELESS))
    except OSError:
        return False
    return True


def recorded_syncs(monkeypatch: pytest.MonkeyPatch, is_blob: Callable[[str], bool]) -> list[str]:
    """What is synced from now on: `sync file` for a blob, told by its name, and `sync NAME` for a folder."""
    steps: list[str] = []
    sync = os.fsync

    def recorded_sync(fd: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        steps.append("sync file" if is_blob(name) else f"sync {name}")
        sync(fd)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    return steps


@pytest.mark.usefixtures("no_nameless_files")
def test_durable_syncs_the_file_before_its_name_and_the_folders_after(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = recorded_syncs(monkeypatch, lambda name: name.startswith(TEMPORARY))
    rename = os.rename

    def recorded_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", recorded_rename)
    store.write("a/b/blob", b"x", durable=True)
    assert steps == [f"sync {root.name}", "sync a", "sync file", "rename", "sync b"]
    steps.clear()
    store.write("a/b/next", b"x", durable=True)
    assert steps == ["sync file", "rename", "sync b"]
    steps.clear()
    store.write("a/b/third", b"x")
    assert steps == ["rename"]


def test_a_durable_file_without_a_name_is_synced_before_it_gets_one(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless_files(root):
        pytest.skip("this volume has no files without a name")
    steps = recorded_syncs(monkeypatch, lambda name: name.endswith("(deleted)"))
    link = os.link

    def recorded_link(old: str, new: str, *, dst_dir_fd: int, follow_symlinks: bool) -> None:
        steps.append("name")
        link(old, new, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "link", recorded_link)
    store.write("a/b/blob", b"x", durable=True)
    assert steps == [f"sync {root.name}", "sync a", "sync file", "name", "sync b"]
    steps.clear()
    store.write("a/b/next", b"x")
    assert steps == ["name"]


@pytest.mark.parametrize("slow_sync_s", [60.0, 0.0], ids=["one by one", "side by side"])
def test_sync_covers_every_file_and_every_folder_on_its_way_once(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, slow_sync_s: float
) -> None:
    monkeypatch.setattr("muniflow.store.sync.SLOW_SYNC_S", slow_sync_s)
    synced: list[str] = []
    sync = os.fsync

    def recorded_sync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        sync(fd)

    names = [str(number) for number in range(20)]
    keys = [f"a/{name}" if name == "7" else f"a/b/{name}" for name in names]
    for key in keys:
        store.write(key, key.encode())
    monkeypatch.setattr(os, "fsync", recorded_sync)
    store.sync(keys)
    assert sorted(synced[:20]) == sorted(names), "files first"
    assert sorted(synced[20:]) == sorted([root.name, "a", "b"])
    assert [bytes(store.read(key)) for key in keys] == [key.encode() for key in keys]


@pytest.mark.parametrize("slow_sync_s", [60.0, 0.0], ids=["one by one", "side by side"])
def test_a_sync_that_fails_is_no_success(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, slow_sync_s: float
) -> None:
    monkeypatch.setattr("muniflow.store.sync.SLOW_SYNC_S", slow_sync_s)
    sync = os.fsync

    def failing_sync(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name == "11":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    keys = [f"a/{number}" for number in range(20)]
    for key in keys:
        store.write(key, b"x")
    monkeypatch.setattr(os, "fsync", failing_sync)
    with pytest.raises(Unavailable):
        store.sync(keys)


def test_more_files_are_synced_than_descriptors_may_be_open(store: LocalStore) -> None:
    keys = [f"many/{number}" for number in range(SYNC_FILES * 2 + 1)]
    for key in keys:
        store.write(key, b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, SYNC_FILES + 200), hard))
    try:
        store.sync(keys)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_buffer_whose_folder_vanishes_is_written_again_and_a_stream_is_not(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanish = [True]
    rename = os.rename

    def late_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if vanish.pop():
            store.delete_prefix("a/")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", late_rename)
    vanish[:] = [False, True]
    store.write("a/b/blob", b"x")
    assert bytes(store.read("a/b/blob")) == b"x"
    vanish[:] = [True]
    with pytest.raises(Unavailable, match="was removed while it was written"):
        store.write("a/b/blob", iter([b"x"]))
    assert list(root.iterdir()) == []


def test_several_whose_folder_vanishes_meanwhile_are_written_all_the_same(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanish = [True]
    link = os.link

    def late_link(*args: Any, **options: Any) -> None:
        if vanish and vanish.pop():
            store.delete_prefix("a/")
        link(*args, **options)

    monkeypatch.setattr(os, "link", late_link)
    blobs = [(f"a/{number}", memoryview(b"x")) for number in range(3)]
    assert store.write_many(blobs) == [None, None, None]
    assert not vanish
    assert [blob.key for blob in store.list()] == ["a/0", "a/1", "a/2"]


def test_several_below_a_file_tell_that_each(store: LocalStore) -> None:
    store.write("a", b"a file")
    for problem in store.write_many([("a/1", memoryview(b"x")), ("a/2", memoryview(b"x"))]):
        assert isinstance(problem, Rejected)


def test_a_name_that_is_not_utf8_is_listed_as_one_that_is_missing(store: LocalStore, root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (blob,) = store.list()
    assert blob.key == r"caf\xe9.jpg"
    with pytest.raises(NotFound):
        store.read(blob.key)


def test_no_descriptor_stays_open(store: LocalStore, root: Path) -> None:
    def use() -> None:
        for name in ("a/b/1", "a/b/2", "a/c/3"):
            store.write(name, b"x" * 5000)
        store.write_many([(name, memoryview(b"x" * 5000)) for name in ("a/b/1", "a/c/3", "a/b/1/x", "../x")])
        store.read("a/b/1", 100, 10)
        store.open("a/b/1").close()
        listing = store.list()
        next(listing)
        del listing  # left half way
        for refused in ("a", "a/b/1/x", "nothing", "nothing/x"):
            with pytest.raises(Rejected):
                store.read(refused)
        store.delete_prefix("a/")

    use()
    gc.collect()  # stores of other tests
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        use()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    shutil.rmtree(root)


def test_a_volume_without_hard_links_says_that_it_cannot_create(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.link", refused)
    with pytest.raises(Unavailable, match="no hard links"):
        store.create("a", b"x")
    assert list(root.iterdir()) == []
