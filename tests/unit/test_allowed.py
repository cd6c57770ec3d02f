"""What a batch allows: any change of what is signed, any other batch, key or place is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.allowed import Foreign, readable, require_inside, shared_of, signed_text
from muniflow.model.messages import Encoding, RawRef, RouteStep, Task, Tile
from muniflow.model.rendering import Rendering
from muniflow.runtime.signing import (
    new_signing_key,
    read_signing_keys,
    read_verify_keys,
    verified,
    write_signing_key,
    write_verify_key,
)

KEY, OTHER = new_signing_key(), new_signing_key()
SOURCES = ("utrecht/",)
ROUTE = (RouteStep(op="resize", params={"width": 3}), RouteStep(op="split", params={"columns": 2}, fan_out=4))
TASK = Task(
    batch="b", image=7, source="utrecht/a.jpg", stem="a", destination="b", encoding=Encoding(format="jpg"), route=ROUTE
)
GRANT = KEY.sign(TASK, SOURCES)
CHANGED = {
    "batch": st.text(),
    "destination": st.text(),
    "decode": st.sampled_from(["exact", "fast"]),
    "checksums": st.sampled_from([None, True]),
    "encoding": st.builds(
        Encoding, format=st.sampled_from(["jpg", "png", "webp"]), quality=st.none() | st.integers(1, 100)
    ),
    "rendering": st.builds(
        Rendering,
        color=st.sampled_from(["srgb", "keep"]),
        alpha=st.sampled_from([None, "keep", "flatten"]),
        background=st.from_regex("^#[0-9a-f]{6}$", fullmatch=True),
        metadata=st.sampled_from(["strip", "keep", "gps"]),
    ),
    "route": st.lists(
        st.builds(
            RouteStep,
            op=st.sampled_from(["resize", "split", "blur"]),
            params=st.dictionaries(st.text(max_size=3), st.integers() | st.text() | st.floats(allow_nan=False)),
            fan_out=st.integers(1, 9),
        ),
        max_size=3,
    ).map(tuple),
}


@given(st.data(), st.sampled_from(sorted(CHANGED)))
def test_a_task_with_any_other_field_is_not_verified(data, name):
    other = TASK.model_copy(update={name: data.draw(CHANGED[name])})
    same = signed_text(other, SOURCES) == signed_text(TASK, SOURCES)

    assert same == (shared_of(other, SOURCES) == shared_of(TASK, SOURCES)) or other.rendering == Rendering()
    assert verified(other, GRANT, KEY.private.public_key()) == same


@given(st.lists(st.text()).map(tuple), st.text())
def test_no_other_prefix_no_other_signature_and_no_other_key_is_verified(sources, signature):
    public = KEY.private.public_key()

    assert verified(TASK, GRANT, public)
    assert verified(TASK, GRANT.model_copy(update={"sources": sources}), public) == (sources == SOURCES)
    assert not verified(TASK, GRANT.model_copy(update={"signature": signature}), public)
    assert not verified(TASK, GRANT, OTHER.private.public_key())


FREE = {
    "image": 8, "source": "utrecht/b.png", "stem": "b", "run": 3, "step": 1, "attempt": 2, "published_at": 9.0,
    "source_px": 12, "source_sha256": "0" * 64, "profile": "b/0/7/0.icc", "metadata": "b/0/7/0.meta",
}  # fmt: skip


@pytest.mark.parametrize("field", [*FREE, "tiles", "grant", "v"])
def test_what_differs_between_the_tasks_of_a_batch_is_not_signed(field):
    assert signed_text(TASK.model_copy(update={field: FREE.get(field, ())}), SOURCES) == signed_text(TASK, SOURCES)


def test_every_field_of_a_task_is_signed_or_known_to_be_free():
    assert set(Task.model_fields) == {*CHANGED, *FREE, "tiles", "grant", "v"}


def tile(key):
    return Tile(pixels=RawRef(key=key, width_px=1, height_px=1, stride_bytes=3))


@pytest.mark.parametrize("fields", [
    {"source": "delft/a.jpg"},
    {"source": "a.jpg"},
    {"tiles": (tile("b/0/7/0-0-.raw"), tile("c/0/7/0-0-.raw"))},
    {"tiles": (tile("b/0/8/0-0-.raw"),)},
    {"tiles": (tile("b/0/70/0-0-.raw"),)},
    {"profile": "c/0/7/0.icc"},
    {"metadata": "c/0/7/0.meta"},
])  # fmt: skip
def test_a_task_that_reads_elsewhere_is_foreign(fields):
    require_inside(TASK, SOURCES)
    with pytest.raises(Foreign):
        require_inside(TASK.model_copy(update=fields), SOURCES)


def test_names_of_intermediates_hold_a_part_of_the_signature_and_only_a_part():
    assert TASK.mark == ""
    signed = TASK.model_copy(update={"grant": GRANT})
    assert GRANT.signature.startswith(signed.mark.removeprefix("."))
    assert 22 * 6 >= 128
    assert len(signed.mark) == 1 + 22 < len(GRANT.signature) / 3
    assert signed.mark != TASK.model_copy(update={"grant": KEY.sign(TASK, ("delft/",))}).mark
    assert signed.mark == TASK.model_copy(update={"grant": KEY.sign(TASK, SOURCES), "image": 8}).mark


@pytest.mark.parametrize(("owner", "source", "grants", "expected"), [
    ("utrecht", "utrecht/2026/", {}, ("utrecht/2026/",)),
    ("utrecht", "", {}, ("utrecht/",)),
    ("utrecht", "", {"utrecht": ("utrecht/", "shared/")}, ("utrecht/", "shared/")),
    ("utrecht", "maps/", {"utrecht": ("maps/a/", "maps/b/", "shared/")}, ("maps/a/", "maps/b/")),
    ("utrecht", ".muniflow/uploads/b/", {}, (".muniflow/uploads/b/",)),
    ("default", "", {}, ("",)),
    ("default", "images/", {}, ("images/",)),
    ("default", "", {"default": ()}, ("",)),
])  # fmt: skip
def test_a_batch_may_read_its_own_prefix_as_far_as_it_is_granted(owner, source, grants, expected):
    assert readable(owner, source, grants) == expected


def test_keys_are_read_as_they_were_written_the_one_that_signs_first():
    pem = "".join(map(write_signing_key, (OTHER, KEY))).encode()
    public = "".join(write_verify_key(key.private.public_key()) for key in (KEY, OTHER)).encode()

    assert [key.id for key in read_signing_keys(pem)] == [OTHER.id, KEY.id]
    assert set(read_verify_keys(public)) == {KEY.id, OTHER.id}
    for read, text in ((read_signing_keys, public), (read_verify_keys, pem), (read_verify_keys, b"no key")):
        with pytest.raises(ValueError, match=r"key|PEM|data"):
            read(text)
