"""Which images a batch has, and the shape of its report."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.errors import Invalid, NotFound, Rejected
from muniflow.model.batch import Batch
from muniflow.model.keys import UPLOADS
from muniflow.model.messages import Encoding, RouteStep
from muniflow.model.report import final_state, image_entry, output_keys, report_chunks, report_header
from muniflow.model.skipped import MAX_NAMED, MAX_REASONS, OTHER_REASON, SkippedFiles
from muniflow.store.by_content import EMPTY, UNKNOWN
from muniflow.store.folders import LINK, SPECIAL_FILE
from muniflow.store.listing import MAX_FAULTS, first_task, iter_images
from muniflow.store.local import LocalStore


def batch(**fields):
    values = {
        "batch_id": "b", "municipality": "Utrecht", "source": "", "images": None, "manifest": None,
        "route": (RouteStep(op="split", fan_out=4),), "encoding": Encoding(format="jpg"), "destination": "out",
        "decode": "exact", "weight": 1, "fingerprint": "f",
    }  # fmt: skip
    return Batch(**{**values, **fields})


@pytest.fixture
def store(tmp_path):
    def make(**blobs):
        made = LocalStore(tmp_path)
        made.write("there", b"")
        for key, content in blobs.items():
            made.write(key.replace("__", "/").replace("_dot_", "."), content)
        return made

    return make


def test_named_images_come_in_their_order_below_the_source(store):
    found = list(iter_images(batch(source="s/", images=("b.jpg", "n/a.png")), store()))
    assert found == [(0, "s/b.jpg", "b", None), (1, "s/n/a.png", "n/a", None)]


def test_a_listing_takes_images_only(store):
    blobs = {"s__b_dot_JPG": b"", "s__a_dot_txt": b"", "s__n__c_dot_webp": b"", "t__d_dot_jpg": b"", "s__jpg": b""}
    found = list(iter_images(batch(source="s/"), store(**blobs)))
    assert [ref[:3] for ref in found] == [(0, "s/b.JPG", "b"), (1, "s/n/c.webp", "n/c")]
    assert all(ref.version for ref in found)


JPEG, TIFF = b"\xff\xd8\xff\xe0rest", b"II*\0rest"


def test_a_listing_goes_by_content_where_the_extension_says_nothing(tmp_path):
    """And what it does not take is counted and named: nothing vanishes."""
    blobs = {
        "a.jpg": b"", "b": JPEG, "c.bmp": JPEG, "d.jpg_original": JPEG, "e.xyz": TIFF, "n/f.JFIF": b"", "g.mpo": b"",
        "h": b"", "i.bmp": b"BM....", "j.xml": b"<?xml", "k.txt": b"notes", "l.bin": b"\1\2\3\4" * 9,
    }  # fmt: skip
    for name, content in blobs.items():
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes(content)
    (tmp_path / "s/n/link.jpg").symlink_to("../a.jpg")
    (tmp_path / "s/folder").symlink_to("n")
    os.mkfifo(tmp_path / "s/pipe.jpg")
    skipped = SkippedFiles()
    found = list(iter_images(batch(source="s/"), LocalStore(tmp_path), skipped=skipped))
    assert [(ref.key[2:], ref.stem) for ref in found] == [
        ("a.jpg", "a"), ("b", "b"), ("c.bmp", "c.bmp"), ("d.jpg_original", "d.jpg_original"), ("e.xyz", "e.xyz"),
        ("g.mpo", "g"), ("n/f.JFIF", "n/f"),
    ]  # fmt: skip
    told = skipped.result()
    assert dict(told.named) == {
        "s/h": EMPTY, "s/i.bmp": "a BMP, which is not decoded", "s/j.xml": "XML or SVG, which is not decoded",
        "s/k.txt": "text, which is not decoded", "s/l.bin": UNKNOWN, "s/n/link.jpg": LINK, "s/folder": LINK,
        "s/pipe.jpg": SPECIAL_FILE,
    }  # fmt: skip
    assert told.count == sum(told.reasons.values()) == 8
    with pytest.raises(Invalid, match=r"strict: 8 files are not taken: .*s/i\.bmp"):
        list(iter_images(batch(source="s/", strict=True), LocalStore(tmp_path)))


def test_known_extensions_are_taken_without_a_read(store):
    class Unreadable(LocalStore):
        def read(self, *_args):
            raise AssertionError("read")

    made = store(**{f"s__{name}_dot_jpg": b"" for name in "abc"})
    assert len(list(iter_images(batch(source="s/"), Unreadable(Path(made._root))))) == 3


def test_of_many_skipped_files_the_first_are_named_and_all_are_counted():
    skipped = SkippedFiles()
    for number in range(MAX_NAMED + 5):
        skipped.add(f"{number}", f"reason {number}")
    told = skipped.result()
    assert (told.count, len(told.named), len(told.reasons)) == (MAX_NAMED + 5, MAX_NAMED, MAX_REASONS + 1)
    assert told.reasons[OTHER_REASON] == MAX_NAMED + 5 - MAX_REASONS


def test_a_listing_leaves_out_what_is_hidden(tmp_path):
    for name in ("s/a.jpg", "s/.b.jpg", "s/.c/d.jpg", "s/n/.e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [key for _, key, *_ in iter_images(batch(source="s/"), LocalStore(tmp_path))] == ["s/a.jpg"]


def test_a_manifest_is_read_line_by_line(store):
    manifest = "\ufeffa.jpg\r\n\r\n  n/b.jpg  \nc d.png".encode()
    found = list(iter_images(batch(source="s/", manifest="m"), store(m=manifest)))
    assert [key for _, key, *_ in found] == ["s/a.jpg", "s/n/b.jpg", "s/c d.png"]


@pytest.mark.parametrize(
    ("fields", "blobs", "expected"),
    [
        ({"images": ("a.jpg", "a.png")}, {}, "images[1]: a.png and a.jpg would have the same output names"),
        ({"images": ("a.jpg", "a.jpg")}, {}, "images[1]: a.jpg is named twice"),
        ({"manifest": "m"}, {}, "manifest: m is not in the source store"),
        ({"manifest": "m"}, {"m": b"\n \n"}, "manifest: m names no image"),
        ({"manifest": "m"}, {"m": b"a.jpg\n\xff\xd8\xff\0\n"}, "manifest line 2: holds a NUL"),
        ({"manifest": "m"}, {"m": b"a.jpg\nb/a.jpg\na.png"}, "manifest line 3: a.png and a.jpg would have"),
        ({"manifest": "m"}, {"m": b"a.jpg\n" + b"x" * 5000}, "manifest line 2: longer than a key can be"),
        ({"source": "s/"}, {"s__a_dot_txt": b""}, "source: no image below 's/'"),
    ],
)
def test_faults_are_named_by_their_places(store, fields, blobs, expected):
    with pytest.raises(Invalid) as raised:
        list(iter_images(batch(**fields), store(**blobs)))
    assert str(raised.value).startswith(expected)


def test_faults_have_an_end(store):
    with pytest.raises(Invalid) as raised:
        list(iter_images(batch(manifest="m"), store(m=b"x.jpg\n" * 1000)))
    assert len(raised.value.faults) == MAX_FAULTS


UNUSABLE = ["../x.jpg", "/x.jpg", "a//b.jpg", "x/.b.jpg", f"{UPLOADS}/b/a.jpg", "x" * 256 + ".jpg", "caf\\xe9.jpg"]


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("source", ["", "s/", f"{UPLOADS}/b/"])
def test_a_name_that_cannot_be_used_harms_only_itself(store, name, source):
    """It is an image like the others, and no store reads it: not even one that is laxer for what is muniflow's own."""
    line = name.replace("\\xe9", "\udce9").encode(errors="surrogateescape")
    made = store(m=b"a.jpg\n" + line + b"\nb.jpg\n", s__a_dot_jpg=b"")
    made.write(f"{UPLOADS}/b/a.jpg", b"of another batch")
    found = list(iter_images(batch(source=source, manifest="m"), made))
    assert [ref.n for ref in found] == [0, 1, 2]
    assert (found[0].key, found[2].key) == (f"{source}a.jpg", f"{source}b.jpg")
    assert found[1].key.startswith(source)
    assert found[1].key.endswith(name)
    assert found[1].stem in found[1].key
    with pytest.raises((Rejected, NotFound)):
        made.read(found[1].key)


SPECIAL = ["4.15.00\u202fPM.jpg", "v\u00a013.05.jpg", "\u0646\u200c\u062f.jpg", "b\nc.jpg", "dir\\c.jpg", "\x1b[2J.jpg"]


def test_a_listing_takes_every_name_that_a_store_holds(tmp_path):
    store = LocalStore(tmp_path)
    for name in SPECIAL:
        store.write(f"s/{name}", name.encode())
    found = list(iter_images(batch(source="s/"), store))
    assert sorted(ref.key for ref in found) == sorted(f"s/{name}" for name in SPECIAL)
    assert all(bytes(store.read(ref.key)) == ref.key[2:].encode() for ref in found)


def test_names_that_are_not_utf_8_do_not_become_one(tmp_path):
    (tmp_path / "there").write_bytes(b"")
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg", b"\xe9" * 200 + b".jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    found = [ref.key for ref in iter_images(batch(), LocalStore(tmp_path))]
    assert len(set(found)) == 3
    assert "caf\\xe9.jpg" in found


def test_a_first_task_has_everything_of_its_batch(store):
    made = batch(images=("a.jpg",), decode="fast")
    (ref,) = iter_images(made, store())
    task = first_task(made, ref, run=2, now_s=5.0)
    assert (task.batch, task.image, task.source, task.stem, task.destination) == ("b", 0, "a.jpg", "a", "out")
    assert (task.decode, task.run, task.published_at, task.tiles, task.lineages) == ("fast", 2, 5.0, (), ((),))


@given(
    st.lists(st.tuples(st.text(), st.sampled_from(["done", "failed"]), st.lists(st.text(), max_size=3)), max_size=20)
)
def test_a_report_is_json_whatever_is_in_it(rows):
    entries = [image_entry(n, source, state, (), reasons) for n, (source, state, reasons) in enumerate(rows)]
    counts = {"done": 1, "failed": 2, "cancelled": 3}
    header = report_header(batch(), "partial", done=1, failed=2, cancelled=3, submitted_at=1.0, finished_at=3.5)
    report = json.loads(b"".join(report_chunks(header, iter(entries))))
    assert report.pop("images") == entries
    assert len(report.pop("sha256")) == 64
    assert report == header
    assert report["totals"] == {"images": 6, **counts, "outputs": 4, "skipped": 0}
    assert report["times"] == {"submitted_at": 1.0, "finished_at": 3.5, "seconds": 2.5}
    assert report["forecast"] == {
        "p50_s": None, "p90_s": None, "actual_s": 2.5, "reason": "the local engine makes none"
    }  # fmt: skip


def test_outputs_are_in_split_order():
    assert output_keys("out", "n/a", Encoding(format="png"), 3) == [f"out/n/a-{index}.png" for index in range(3)]


@pytest.mark.parametrize(
    ("done", "failed", "cancelled", "state"),
    [(2, 0, 0, "done"), (1, 1, 0, "partial"), (0, 2, 0, "failed"), (1, 1, 1, "cancelled"), (0, 0, 1, "cancelled")],
)
def test_final_state(done, failed, cancelled, state):
    assert final_state(done, failed, cancelled) == state
