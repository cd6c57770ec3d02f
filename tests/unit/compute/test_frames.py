"""Frames between parent and child: whole ones come out whole however they arrive, and noise is refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.compute.frames import Decoder, FrameError, frame
from muniflow.compute.groups import Following, GroupResult, TaskResult, decode_result, encode_result
from muniflow.compute.outcome import StepMeasure
from muniflow.model.messages import Settled, Tally

PARTS = st.lists(st.binary(max_size=40), max_size=6)


@given(st.lists(PARTS, max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_frames_survive_any_cut(groups, cuts):
    data = b"".join(frame(parts) for parts in groups)
    decoder, found, start, turn = Decoder(), [], 0, 0
    while start < len(data):
        step = cuts[turn % len(cuts)]
        found += decoder.feed(data[start : start + step])
        start, turn = start + step, turn + 1
    assert found == groups
    assert decoder.between_frames


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waits_for_more(data):
    with suppress(FrameError):
        for parts in Decoder().feed(data):
            decode_result(parts)


@given(PARTS, st.data())
def test_a_frame_with_a_wrong_byte_never_gives_other_errors(parts, data):
    body = bytearray(frame(parts))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    with suppress(FrameError):
        Decoder().feed(body)


def test_a_frame_that_is_too_long_is_refused_at_once():
    with pytest.raises(FrameError, match="a frame of 4294967295 bytes"):
        Decoder().feed(b"\xff\xff\xff\xff")


def test_a_result_comes_back_as_it_was():
    result = GroupResult(
        tasks=[TaskResult("resize", "done", 0.25, 100, first=True), TaskResult("blur", "failed", reason="no")],
        measures=[StepMeasure(op="resize", step=2, done=1, pixels=100, compute_s=0.2)],
        following=[Following(0, "blur", b"{}"), Following(1, "blur", b"\x00")],
        settled=[Settled(batch="b", image=1, run=2, lineage=((1, 4), (0, 2)), reason="no", step=1)],
        tallies=[Tally(batch="b", step=0, done=1, pixels=100, compute_s=0.2)],
    )
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"{}"],
        [b"[1]"],
        [b"\xff"],
        [b"[" * 100000],
        [b'{"tasks": [[1]], "measures": [], "following": []}', b"{}"],
        [b'{"tasks": [], "measures": [], "following": []}', b'{"settled": [1]}'],
        [b'{"tasks": [], "measures": [], "following": [[0, "blur"]]}', b"{}"],
    ],
)
def test_what_is_no_result_is_refused(parts):
    with pytest.raises(FrameError, match="not a result"):
        decode_result(parts)
