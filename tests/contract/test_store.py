"""One suite for every blob store: each sentence of `muniflow.store.types.Store`."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from tests.support.azurite import AZURITE, azurite
from tests.support.google_storage import STAND_IN, google_storage
from tests.support.moto_server import Application, moto_server
from tests.support.waiting import LIMIT_S

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.model.keys import upload_folder
from muniflow.store import Store, open_store
from muniflow.store.objects import ObjectStore
from muniflow.store.places import destination_in

HERE = Path(__file__).parent
BUCKET = "city-archive"
BAD_KEYS = [
    "",
    "/etc/passwd",
    "../up",
    "a/../../up",
    "a/./b",
    "a//b",
    ".hidden",
    "a/.b",
    ".a/b",
    ".muniflow/broker/node.json",
    ".muniflow-tmp-1",
    "a/",
    "a\0b",
    "\udcff",
    "x" * 2000,
]
NASTY = st.text("ab-./ ~+%#é\N{GRINNING FACE}!'&?*", min_size=1, max_size=6)

numbers = itertools.count()


def _one_at_a_time(application: Application) -> Application:
    """Moto looks whether a blob is there, then writes it: of two requests at once both would create it."""
    one = threading.Lock()

    def serialised(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
        with one:
            return list(application(environ, start_response))

    return serialised


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket on a server of our own."""
    with moto_server() as server, pytest.MonkeyPatch.context() as patch:
        server.wrap(_one_at_a_time)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ALLOW_HTTP", "true")
        server.make_bucket(BUCKET)
        yield f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(BUCKET, tmp_path_factory.mktemp("azure")) as url:
        yield url


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with google_storage("google") as url:
        yield url


CLOUDS = (*(("google",) if STAND_IN else ()), *(("azure",) if AZURITE else ()))


@pytest.fixture(params=["local", "s3", *CLOUDS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new empty place that other processes reach too."""
    if request.param == "local":
        return f"file://{tmp_path}"
    return f"{request.getfixturevalue(request.param)}/{next(numbers)}"


@pytest.fixture(params=["local", "local, no nameless files", "s3", "memory", *CLOUDS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    match request.param:
        case "memory":
            return ObjectStore(MemoryStore(), "memory")
        case "s3" | "google" | "azure":
            return open_store(f"{request.getfixturevalue(request.param)}/{next(numbers)}")
        case "local, no nameless files":
            monkeypatch.setattr("muniflow.store.whole_file.NAMELESS", os.O_WRONLY)  # a folder cannot be opened so
    return open_store(str(tmp_path))


def keys(store: Store, prefix: str = "") -> list[str]:
    return [blob.key for blob in store.list(prefix)]


def is_azurite(store: Store) -> bool:
    """It is written in JavaScript: it lists by UTF-16, and takes `\\` for `/`. Azure itself was not tried."""
    return "az://" in repr(store)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"abc", b"abc"),
        (memoryview(b"abcdef")[2:4], b"cd"),
        (memoryview(bytearray(b"abcdef")).cast("B", shape=[2, 3]), b"abcdef"),
        (iter([]), b""),
        (iter([b"", b"ab", b"", b"c"]), b"abc"),
    ],
    ids=["empty", "bytes", "slice", "2-d", "no chunks", "chunks"],
)
def test_what_is_written_is_read(
    store: Store, data: bytes | memoryview | Iterator[bytes], expected: bytes, *, durable: bool
) -> None:
    # An iterator of the table is spent after one test, so each test gets its own.
    given_data = iter([b"", b"ab", b"", b"c"] if expected else []) if isinstance(data, Iterator) else data
    assert store.write("north/street 1.raw", given_data, durable=durable) == len(expected)
    view = store.read("north/street 1.raw")
    assert bytes(view) == expected
    assert view.readonly
    assert store.size("north/street 1.raw") == len(expected)
    with store.open("north/street 1.raw") as stream:
        assert stream.read() == expected


def test_several_are_written_and_each_one_tells_its_own_problem(store: Store) -> None:
    store.write("north/1.jpg", b"before")
    blobs = [
        ("north/1.jpg", memoryview(b"one")),
        ("../2.jpg", memoryview(b"outside")),
        ("north/3.jpg", memoryview(b"")),
        ("south/4.jpg", memoryview(bytearray(b"fourth")).cast("B", shape=[2, 3])),
        ("north/5.jpg", memoryview(b"fifth")[1:]),
    ]
    problems = store.write_many(blobs)
    assert [type(problem) for problem in problems] == [type(None), Rejected, *[type(None)] * 3]
    assert keys(store) == ["north/1.jpg", "north/3.jpg", "north/5.jpg", "south/4.jpg"]
    assert [bytes(store.read(key)) for key in keys(store)] == [b"one", b"", b"ifth", b"fourth"]
    assert store.write_many([]) == []


@pytest.mark.parametrize("whole_volume", [False, True])
def test_sync_changes_nothing_that_can_be_read(store: Store, *, whole_volume: bool) -> None:
    store.write("north/a", b"a")
    store.sync(["north/a"], whole_volume=whole_volume)
    store.sync([], whole_volume=whole_volume)
    assert bytes(store.read("north/a")) == b"a"


def test_a_numpy_image_is_written_without_help(store: Store) -> None:
    numpy = pytest.importorskip("numpy")
    image = numpy.arange(24, dtype=numpy.uint8).reshape(2, 4, 3)
    assert store.write("image.raw", image.data) == 24
    assert bytes(store.read("image.raw")) == image.tobytes()


@pytest.mark.parametrize(
    ("offset_bytes", "length_bytes"),
    [(0, None), (0, 10_000), (1, None), (4096, 4096), (4095, 2), (9_999, 1), (10_000, None), (10_000, 0), (7, 0)],
)
def test_a_range_is_those_bytes(store: Store, offset_bytes: int, length_bytes: int | None) -> None:
    data = bytes(index * 7 % 251 for index in range(10_000))
    store.write("blob", data)
    end = None if length_bytes is None else offset_bytes + length_bytes
    assert bytes(store.read("blob", offset_bytes, length_bytes)) == data[offset_bytes:end]


@pytest.mark.parametrize(
    ("offset_bytes", "length_bytes"),
    [(0, 6), (5, 1), (6, None), (6, 0), (4, 2), (100, 10), (-1, 2), (0, -1), (-1, None)],
)
def test_a_range_that_the_blob_has_not_is_rejected(store: Store, offset_bytes: int, length_bytes: int | None) -> None:
    store.write("blob", b"12345")
    with pytest.raises(Rejected, match="'blob' has 5 bytes") as refusal:
        store.read("blob", offset_bytes, length_bytes)
    no_range = offset_bytes < 0 or (length_bytes or 0) < 0
    assert isinstance(refusal.value, NotFound) != no_range, "the blob may have been longer"


def test_a_missing_blob_is_not_found(store: Store) -> None:
    store.write("folder/other", b"x")
    for missing in ("nothing", "folder/nothing", "nothing/at/all", "folder", "folder/other/below"):
        for length_bytes in (None, 0, 5):
            with pytest.raises(NotFound):
                store.read(missing, 0, length_bytes)
        with pytest.raises(NotFound):
            store.open(missing).read()
        assert store.size(missing) is None
        store.delete(missing)
        store.delete_prefix(f"{missing}/below/")
        assert keys(store, f"{missing}/below/") == []
    assert keys(store) == ["folder/other"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_rejected_everywhere(store: Store, key: str) -> None:
    calls: list[Callable[[str], object]] = [
        store.read,
        store.open,
        store.size,
        store.delete,
        lambda bad: store.write(bad, b"x"),
    ]
    calls += [lambda bad: store.delete_prefix(bad + "/")]
    for call in calls:
        with pytest.raises(Rejected) as caught:
            call(key)
        assert not isinstance(caught.value, NotFound)
    with pytest.raises(Rejected):
        list(store.list(key + "/"))


@pytest.mark.parametrize("key", ["a\nb.jpg", "a\\b.jpg", "a\N{NARROW NO-BREAK SPACE}b.jpg", "a\u200cb.jpg", " a .jpg"])
def test_an_unusual_name_is_held_or_refused_everywhere(store: Store, key: str) -> None:
    """Cameras and people name files so. No store holds it half, or fails in another way."""
    try:
        store.write(key, b"12345")
    except Rejected:
        calls: list[Callable[[str], object]] = [store.read, lambda bad: store.open(bad).read(), store.delete]
        for call in calls:
            with pytest.raises(Rejected):
                call(key)
        return
    assert bytes(store.read(key)) == b"12345"
    assert keys(store) == [key.replace("\\", "/") if is_azurite(store) else key]
    store.delete(key)
    assert keys(store) == []


@pytest.mark.parametrize("prefix", ["folder", "fol", "/", ""])
def test_a_prefix_ends_in_a_slash(store: Store, prefix: str) -> None:
    with pytest.raises(Rejected):
        store.delete_prefix(prefix)
    if prefix:
        with pytest.raises(Rejected):
            store.list(prefix)


def test_a_blob_is_replaced_whole(store: Store) -> None:
    store.write("blob", b"a longer first version")
    old = store.read("blob")
    assert store.write("blob", b"second") == 6
    assert bytes(store.read("blob")) == b"second"
    assert store.size("blob") == 6
    assert bytes(old) == b"a longer first version"
    assert keys(store) == ["blob"]


def test_a_view_outlives_its_blob(store: Store) -> None:
    store.write("blob", b"x" * 5000)
    view = store.read("blob", 10)
    store.delete("blob")
    assert bytes(view) == b"x" * 4990


@pytest.mark.parametrize(("size_bytes", "turns"), [(300_000, 40), (100, 400)])
def test_a_reader_sees_one_version_or_the_other(store: Store, size_bytes: int, turns: int) -> None:
    if isinstance(store, ObjectStore):
        turns = min(turns, 100)  # some milliseconds each: the server is written in Python
    versions = [bytes([letter]) * size_bytes for letter in b"AB"]
    store.write("blob", versions[0])
    stop = threading.Event()
    seen: list[bytes | NotFound] = []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.append(bytes(store.read("blob")))
            except NotFound as error:
                seen.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    end_s = time.monotonic() + LIMIT_S
    for turn in itertools.count():
        # A busy machine lets the reader wait: the writer goes on until it has read.
        if time.monotonic() > end_s or (turn >= turns and len(seen) > 3):
            break
        data = versions[turn % 2]
        store.write("blob", data if turn % 4 < 2 else iter([data[:50], data[50:]]))
    stop.set()
    reader.join()
    assert len(seen) > 3
    assert [found for found in seen if found not in versions] == []


def test_a_source_that_fails_leaves_what_was_there(store: Store) -> None:
    def broken(error: Exception) -> Iterator[bytes]:
        yield b"half" * 1000
        raise error

    store.write("old", b"old")
    for error in (RuntimeError("mine"), FileNotFoundError("mine"), ConnectionResetError("mine")):
        for key in ("old", "new/blob"):
            with pytest.raises(type(error), match="mine"):
                store.write(key, broken(error))
    assert bytes(store.read("old")) == b"old"
    assert keys(store) == ["old"]


def test_a_killed_writer_leaves_no_half_blob(url: str) -> None:
    store = open_store(url)
    for before in ([], ["folder/blob"]):
        done = subprocess.run([sys.executable, str(HERE / "store_crash.py"), url], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert keys(store) == before
        assert (store.size("folder/blob") is not None) == bool(before)
        store.write("folder/blob", b"whole")
    assert bytes(store.read("folder/blob")) == b"whole"


def test_a_big_blob_streams_in_constant_memory(url: str) -> None:
    command = [sys.executable, str(HERE / "store_stream.py"), url, "96"]
    done = subprocess.run(command, check=True, timeout=100, capture_output=True, text=True)
    growth_mib, written_bytes, read_bytes, same = done.stdout.split()
    assert (int(written_bytes), int(read_bytes), same) == (96 << 20, 96 << 20, "True")
    assert int(growth_mib) < 64


def test_a_stream_gives_lines_and_blocks(store: Store) -> None:
    store.write("list.txt", iter([f"{number}.jpg\n".encode() for number in range(200_000)]))
    with store.open("list.txt") as stream:
        assert sum(1 for line in stream if line.endswith(b".jpg\n")) == 200_000
    with store.open("list.txt") as stream:
        assert stream.read(7) == b"0.jpg\n1"


def test_a_list_is_in_the_order_of_key_bytes(store: Store) -> None:
    names = ["a-b", "a/b", "a.jpg", "a0", "a/b.c", "a/b-/d", "a!", "é", "z", "Z/z", "\N{GRINNING FACE}", "\uffee"]
    for name in names:
        with suppress(Rejected):
            store.write(f"p/{name}", name.encode())
    found = list(store.list("p/"))
    by = "utf-16-be" if is_azurite(store) else "utf-8"
    expected = [(f"p/{name}", len(name.encode())) for name in sorted(names, key=lambda name: name.encode(by))]
    assert [(blob.key, blob.size_bytes) for blob in found] == expected
    assert keys(store) == [blob.key for blob in found]
    assert keys(store, "p/a/") == ["p/a/b", "p/a/b-/d", "p/a/b.c"]


def test_a_blob_has_one_version_however_it_is_asked_until_it_changes(store: Store) -> None:
    store.write("p/a", b"one")
    (listed,) = store.list("p/")
    assert listed.version
    assert store.version("p/a") == listed.version
    store.write("p/a", b"other")
    assert store.version("p/a") != listed.version
    assert store.version("p/nothing") is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(
        st.lists(NASTY.filter(lambda n: not n.startswith(".") and "/" not in n), min_size=1, max_size=3).map("/".join)
    )
)
def test_any_keys_are_listed_in_order_and_removed(store: Store, names: set[str]) -> None:
    # On a volume a name is a file or a folder; on an object store it may be both.
    leaves = {name for name in names if not any(other.startswith(name + "/") for other in names)}
    prefix, beside = f"case {next(numbers)}/", f"beside-{next(numbers)}"
    store.write(beside, b"stays")
    for name in leaves:
        store.write(prefix + name, name.encode())
    expected = sorted((prefix + name for name in leaves), key=str.encode)
    assert keys(store, prefix) == expected
    assert all(bytes(store.read(key)) == key.removeprefix(prefix).encode() for key in expected)
    store.delete_prefix(prefix)
    assert keys(store, prefix) == []
    assert bytes(store.read(beside)) == b"stays"


def test_two_stores_are_told_to_be_one_place_or_another(url: str) -> None:
    """The same root, one inside the other, and two side by side."""
    store, same, inside, beside = (open_store(each) for each in (url, f"{url}/", f"{url}/in", f"{url}-2"))
    store.write("in/a.jpg", b"original")
    assert bytes(inside.read("a.jpg")) == b"original", "so they are one place"
    assert store.location() == same.location()
    assert destination_in(store.location(), same.location(), "in") == "in/"
    assert destination_in(store.location(), inside.location(), "x") == "in/x/"
    assert destination_in(inside.location(), store.location(), "in") == ""
    assert destination_in(store.location(), beside.location(), "in") is None


def test_what_is_hidden_is_not_listed(store: Store) -> None:
    folder = upload_folder("b")
    for key in ("a.jpg", "z/b.jpg", f"{folder}c.jpg", f"{folder}d/e.jpg"):
        store.write(key, b"x")
    assert keys(store) == ["a.jpg", "z/b.jpg"]
    assert keys(store, folder) == [f"{folder}c.jpg", f"{folder}d/e.jpg"]
    store.delete_prefix(folder)
    assert keys(store, folder) == []


def test_a_list_longer_than_a_page_is_whole(store: Store) -> None:
    names = [f"n/{number:05}" for number in range(1003)]
    for name in names:
        store.write(name, b"")
    assert keys(store) == names
    store.delete_prefix("n/")
    assert keys(store) == []


CLAIMANTS = 50


def test_of_many_who_create_one_blob_at_once_exactly_one_does(store: Store) -> None:
    ready = threading.Barrier(CLAIMANTS)

    def claim(number: int) -> bool:
        ready.wait(30)
        return store.create("claims/a key", str(number).encode())

    with ThreadPoolExecutor(CLAIMANTS) as pool:
        made = list(pool.map(claim, range(CLAIMANTS)))

    assert made.count(True) == 1
    assert bytes(store.read("claims/a key")) == str(made.index(True)).encode()
    assert keys(store) == ["claims/a key"]  # and nothing unfinished beside it


def test_what_is_created_takes_the_place_of_nothing(store: Store) -> None:
    store.write("a", b"first")
    assert not store.create("a", b"second")
    assert bytes(store.read("a")) == b"first"
    store.delete("a")
    assert store.create("a", b"third")
    assert bytes(store.read("a")) == b"third"


def test_of_many_processes_that_create_one_blob_exactly_one_does(url: str) -> None:
    code = (
        "import sys; from muniflow.store import open_store; sys.stdin.readline();"
        "print(open_store(sys.argv[1]).create('a', sys.argv[2].encode()))"
    )
    claimants = [
        subprocess.Popen([sys.executable, "-c", code, url, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(4)
    ]
    for claimant in claimants:
        assert claimant.stdin is not None
        claimant.stdin.write(b"go\n")
        claimant.stdin.flush()
    answers = [claimant.communicate(timeout=60)[0].strip() for claimant in claimants]
    assert sorted(answers) == [b"False"] * 3 + [b"True"]


def test_deleting_is_done_once_and_harmless_twice(store: Store) -> None:
    for key in ("a/b/c", "a/b/d", "a-b", "ab/c"):
        store.write(key, b"x")
    for _ in range(2):
        store.delete("a/b/c")
        assert keys(store) == ["a-b", "a/b/d", "ab/c"]
    for _ in range(2):
        store.delete_prefix("a/")
        assert keys(store) == ["a-b", "ab/c"]
    store.write("a/b/c", b"again")
    assert bytes(store.read("a/b/c")) == b"again"


def test_removing_while_others_write_raises_nothing(store: Store) -> None:
    stop = threading.Event()
    trouble: list[Exception] = []
    written: list[str] = []

    def write(name: str) -> None:
        while not stop.is_set():
            try:
                store.write(f"batch/0/{name}/{len(written) % 7}", b"x" * 1000)
                written.append(name)
            except Unavailable:
                pass  # allowed: its folder vanished again and again
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
                trouble.append(error)
                return

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    try:
        turns = 0
        while (turns < 30 or len(written) < 50) and not trouble:
            store.delete_prefix("batch/")
            list(store.list("batch/"))
            turns += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert trouble == []
    store.delete_prefix("batch/")
    assert keys(store) == []


def test_check_leaves_nothing(store: Store) -> None:
    store.check()
    assert keys(store) == []
