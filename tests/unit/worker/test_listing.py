"""Which images a batch has, and the shape of its report."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.errors import Invalid
from muniflow.model.batch import Batch
from muniflow.model.messages import Encoding, RouteStep
from muniflow.model.report import final_state, image_entry, output_keys, report_chunks, report_header
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
    assert found == [(0, "s/b.jpg", "b"), (1, "s/n/a.png", "n/a")]


def test_a_listing_takes_images_only(store):
    blobs = {"s__b_dot_JPG": b"", "s__a_dot_txt": b"", "s__n__c_dot_webp": b"", "t__d_dot_jpg": b"", "s__jpg": b""}
    assert list(iter_images(batch(source="s/"), store(**blobs))) == [(0, "s/b.JPG", "b"), (1, "s/n/c.webp", "n/c")]


def test_a_listing_leaves_out_what_is_hidden(tmp_path):
    for name in ("s/a.jpg", "s/.b.jpg", "s/.c/d.jpg", "s/n/.e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [key for _, key, _ in iter_images(batch(source="s/"), LocalStore(tmp_path))] == ["s/a.jpg"]


def test_a_manifest_is_read_line_by_line(store):
    manifest = "\ufeffa.jpg\r\n\r\n  n/b.jpg  \nc d.png".encode()
    found = list(iter_images(batch(source="s/", manifest="m"), store(m=manifest)))
    assert [key for _, key, _ in found] == ["s/a.jpg", "s/n/b.jpg", "s/c d.png"]


@pytest.mark.parametrize(
    ("fields", "blobs", "expected"),
    [
        ({"images": ("a.jpg", "a.png")}, {}, "images[1]: a.png and a.jpg would have the same output names"),
        ({"images": ("a.jpg", "a.jpg")}, {}, "images[1]: a.jpg is named twice"),
        ({"images": ("../a.jpg",)}, {}, "images[0]: '../a.jpg': a key cannot hold"),
        ({"manifest": "m"}, {}, "manifest: m is not in the source store"),
        ({"manifest": "m"}, {"m": b"\n \n"}, "manifest: m names no image"),
        ({"images": (".git/a.jpg",)}, {}, "images[0]: '.git/a.jpg': a part of a key cannot begin with '.'"),
        ({"manifest": "m"}, {"m": b"a.jpg\nx/.b.jpg\n"}, "manifest line 2: 'x/.b.jpg': a part of a key cannot begin"),
        ({"manifest": "m"}, {"m": b"a.jpg\n\n/b.jpg\n"}, "manifest line 3: '/b.jpg': a key is relative"),
        ({"manifest": "m"}, {"m": b"a.jpg\n\xff\xfe\n"}, "manifest line 2: not UTF-8 text"),
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
        list(iter_images(batch(manifest="m"), store(m=b"../x.jpg\n" * 1000)))
    assert len(raised.value.faults) == MAX_FAULTS


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
    header = report_header(batch(), "partial", **counts, submitted_at=1.0, finished_at=3.5)
    report = json.loads(b"".join(report_chunks(header, iter(entries))))
    assert report.pop("images") == entries
    assert report == header
    assert report["totals"] == {"images": 6, **counts, "outputs": 4}
    assert report["times"] == {"submitted_at": 1.0, "finished_at": 3.5, "seconds": 2.5}


def test_outputs_are_in_split_order():
    assert output_keys("out", "n/a", Encoding(format="png"), 3) == [f"out/n/a-{index}.png" for index in range(3)]


@pytest.mark.parametrize(
    ("done", "failed", "cancelled", "state"),
    [(2, 0, 0, "done"), (1, 1, 0, "partial"), (0, 2, 0, "failed"), (1, 1, 1, "cancelled"), (0, 0, 1, "cancelled")],
)
def test_final_state(done, failed, cancelled, state):
    assert final_state(done, failed, cancelled) == state
