"""What a task does, on real stores and real pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.support import compute_steps
from tests.support.compute_help import context, files, picture, run_hop_by_hop, task, write_source
from tests.unit.images import profiles

from muniflow.compute.context import Context
from muniflow.compute.process import process
from muniflow.errors import Unavailable
from muniflow.images.decode import decode
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits
from muniflow.images.profile import kept_profile
from muniflow.model.lineage import Coverage
from muniflow.model.messages import Encoding, RawRef, Task
from muniflow.model.rendering import Rendering
from muniflow.model.settlement import Done, Fail, Retry
from muniflow.runtime.signing import new_signing_key


def refs(*tasks: Task) -> list[RawRef]:
    return [tile.pixels for task in tasks for tile in task.tiles]


ROUTES = [
    ("smooth",),
    ("half", "quarter", "smooth"),
    ("quarter", "quarter"),
    ("quarter", "half", "quarter", "smooth"),
    (("quarter", {"copies": True}), "quarter", "smooth"),
    ("half", "smooth", "half"),
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: "-".join(map(str, route)))
def test_a_chain_in_memory_writes_what_the_same_steps_write_one_by_one(tmp_path, route):
    for name in ("chained", "hops"):
        write_source(tmp_path / name, "a.jpg", picture(101, 67))
    first = task("a.jpg", *route)
    outcome = process(first, context(tmp_path / "chained"))
    settled = run_hop_by_hop(first, tmp_path / "hops")
    assert outcome.disposition == Done()
    assert outcome.follow == ()
    assert [part.direct for part in outcome.settled] == [True]
    assert any(part.direct for part in settled) == (not files(tmp_path / "hops" / "work"))
    assert {part.lineage for part in outcome.settled} == {part.lineage for part in settled}
    assert Coverage.of(part.lineage for part in settled).complete
    assert files(tmp_path / "chained" / "output") == files(tmp_path / "hops" / "output") != {}
    assert sorted(outcome.outputs) == list(files(tmp_path / "chained" / "output"))


@pytest.mark.parametrize("color", ["srgb", "keep"])
@pytest.mark.parametrize("output", ["jpg", "png", "webp"])
def test_colours_are_the_same_in_a_chain_and_one_by_one(tmp_path, color, output):
    for name in ("chained", "hops"):
        write_source(tmp_path / name, "a.png", picture(101, 67), profile=profiles.wide())
    rendering = None if color == "srgb" else Rendering(color=color)
    first = task("a.png", "half", "quarter", "smooth", encoding=Encoding(format=output), rendering=rendering)
    assert process(first, context(tmp_path / "chained")).disposition == Done()
    run_hop_by_hop(first, tmp_path / "hops")
    made = files(tmp_path / "chained" / "output")
    assert made == files(tmp_path / "hops" / "output")
    assert len(made) == 4
    assert json.loads(first.to_bytes())["v"] == (1 if color == "srgb" else 2)
    for data in made.values():
        kept = kept_profile(memoryview(data), read_header(memoryview(data)))
        assert kept == (profiles.wide() if color == "keep" else None)


@pytest.mark.parametrize("chosen", [{}, {"background": "#00ff00"}, {"alpha": "flatten"}, {"color": "keep"}], ids=str)
@pytest.mark.parametrize("output", ["jpg", "png", "webp"])
def test_alpha_is_the_same_in_a_chain_and_one_by_one(tmp_path, chosen, output):
    alpha = np.indices((67, 101)).sum(0).astype(np.uint8)
    for name in ("chained", "hops"):
        write_source(tmp_path / name, "a.png", np.dstack([picture(101, 67), alpha]), profile=profiles.wide())
    rendering = Rendering(**chosen) if chosen else None
    first = task("a.png", "half", "quarter", "smooth", encoding=Encoding(format=output), rendering=rendering)
    assert process(first, context(tmp_path / "chained")).disposition == Done()
    run_hop_by_hop(first, tmp_path / "hops")
    made = files(tmp_path / "chained" / "output")
    assert made == files(tmp_path / "hops" / "output")
    kept = output != "jpg" and "alpha" not in chosen
    for data in made.values():
        assert (read_header(memoryview(data)).alpha is not None) == kept


@pytest.mark.parametrize("alpha", [False, True])
def test_a_message_that_carries_alpha_is_one_that_an_earlier_build_refuses(tmp_path, alpha):
    image = picture(64, 48)
    write_source(tmp_path, "a.png", np.dstack([image, image[:, :, 0]]) if alpha else image)
    first = task("a.png", "half", "quarter", "smooth")
    assert json.loads(first.to_bytes())["v"] == 1
    (after_half,) = process(first, context(tmp_path, only="half")).follow
    assert json.loads(after_half.to_bytes())["v"] == (2 if alpha else 1)
    assert Task.from_bytes(after_half.to_bytes()).model_copy(update={"v": 1}) == after_half
    tiles = process(after_half, context(tmp_path, only="quarter")).follow
    assert {ref.channels for ref in refs(*tiles)} == {4 if alpha else 3}
    assert {ref.key for ref in refs(*tiles)} == {ref.key for ref in refs(after_half)}, "still by reference"


def test_a_step_that_does_not_know_alpha_refuses_it(tmp_path):
    image = picture(64, 48)
    write_source(tmp_path, "a.png", np.dstack([image, image[:, :, 0]]))
    steps = {"half": replace(compute_steps.steps()["half"], alpha=False)}
    kept = process(task("a.png", "half"), context(tmp_path, steps=steps))
    assert kept.disposition == Fail("half does not know alpha; write `alpha` as `flatten`")
    flattened = task("a.png", "half", rendering=Rendering(alpha="flatten"))
    assert process(flattened, context(tmp_path, steps=steps)).disposition == Done()


def test_tiles_of_an_intermediate_travel_by_reference(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    first = task("a.png", "half", "quarter", "quarter", "smooth")
    (after_half,) = process(first, context(tmp_path, only="half")).follow
    before = files(tmp_path / "work")
    tiles = process(after_half, context(tmp_path, only="quarter")).follow
    assert [len(task.tiles) for task in tiles] == [16]
    assert files(tmp_path / "work") == before
    assert {ref.key for ref in refs(*tiles)} == {ref.key for ref in refs(after_half)}
    assert {(ref.width_px, ref.height_px) for ref in refs(*tiles)} == {(8, 6)}


def test_of_a_signed_batch_each_name_in_the_work_store_holds_a_part_of_the_signature(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48), profile=profiles.wide())
    first = task("a.png", "half", "quarter", "smooth", rendering=Rendering(color="keep"))
    signed = first.model_copy(update={"grant": new_signing_key().sign(first, ("",))})
    (after_half,) = process(signed, context(tmp_path, only="half")).follow
    assert after_half.mark == signed.mark
    names = list(files(tmp_path / "work"))
    assert len(names) == 2, "pixels and profile"
    assert all(signed.mark in name for name in names), names


def by_reference(made: Context) -> Context:
    return replace(made, steps={name: replace(step, by_reference=True) for name, step in made.steps.items()})


def test_a_step_that_works_by_reference_reads_no_pixel_and_names_the_same_ones(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    first = task("a.png", "half", "quarter", "quarter", "smooth")
    (after_half,) = process(first, context(tmp_path, only="half")).follow
    read = process(after_half, context(tmp_path, only="quarter"))
    for blob in (tmp_path / "work").rglob("*.raw"):
        blob.unlink()
    unread = process(after_half, by_reference(context(tmp_path, only="quarter")))
    assert unread.follow == read.follow
    assert [measure.load_bytes for measure in (*read.measures, *unread.measures)] == [32 * 24 * 3, 0, 0, 0]


def test_at_the_ends_of_a_route_a_step_by_reference_reads_all_the_same(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    whole = process(task("a.png", "quarter"), context(tmp_path))
    expected = files(tmp_path / "output")
    assert process(task("a.png", "quarter"), by_reference(context(tmp_path))).outputs == whole.outputs
    assert files(tmp_path / "output") == expected


def test_a_step_that_copies_and_says_otherwise_is_found_out(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    first = task("a.png", "half", ("quarter", {"copies": True}), "smooth")
    (after_half,) = process(first, context(tmp_path, only="half")).follow
    outcome = process(after_half, by_reference(context(tmp_path, only="quarter")))
    assert isinstance(outcome.disposition, Fail)
    assert "copied pixels" in outcome.disposition.reason


def test_large_tiles_go_their_own_ways(tmp_path):
    write_source(tmp_path, "a.jpg", np.zeros((2048, 2100, 3), np.uint8))
    tiles = process(task("a.jpg", "quarter", "smooth"), context(tmp_path, only="quarter")).follow
    assert [each.lineages for each in tiles] == [(((place, 4),),) for place in range(4)]
    assert len(refs(*tiles)) == 4


def test_tiles_of_several_parents_travel_together(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    first = task("a.png", "quarter", "half", "smooth")
    (quarters,) = process(first, context(tmp_path, only="quarter")).follow
    (halves,) = process(quarters, context(tmp_path, only="half")).follow
    assert halves.lineages == quarters.lineages == tuple(((place, 4),) for place in range(4))
    assert len({ref.key for ref in refs(halves)}) == 4


def test_a_tile_that_fails_among_others_fails_alone(tmp_path):
    write_source(tmp_path, "a.png", picture(65, 48))
    first = task("a.png", "quarter", ("refuse", {"width_px": 33}), "smooth")
    (quarters,) = process(first, context(tmp_path, only="quarter")).follow
    outcome = process(quarters, context(tmp_path, only="refuse"))
    assert [part.lineage for part in outcome.settled] == [((1, 4),), ((3, 4),)]
    (rest,) = outcome.follow
    assert rest.lineages == (((0, 4),), ((2, 4),))


def test_a_first_split_writes_the_decoded_source_once(tmp_path):
    image = picture(64, 48)
    write_source(tmp_path, "a.png", image)
    tiles = process(task("a.png", "quarter", "quarter", "smooth"), context(tmp_path, only="quarter")).follow
    (content,) = files(tmp_path / "work").values()
    assert content == image.tobytes()
    assert len({ref.offset_bytes for ref in refs(*tiles)}) == len(refs(*tiles)) == 16


def test_tiles_that_are_copies_are_written_each(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    first = task("a.png", ("quarter", {"copies": True}), "smooth")
    process(first, context(tmp_path, only="quarter"))
    assert sorted(len(content) for content in files(tmp_path / "work").values()) == [32 * 24 * 3] * 4


def test_running_a_task_again_changes_nothing(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    first = task("a.png", "half", "quarter", "smooth")
    outcomes = []
    contents = []
    for _ in range(2):
        outcomes.append(process(first, context(tmp_path, only="half")))
        contents.append(files(tmp_path))
    assert outcomes[0].follow == outcomes[1].follow
    assert contents[0] == contents[1]


def test_a_tile_fails_alone(tmp_path):
    write_source(tmp_path, "a.png", picture(65, 48))
    outcome = process(task("a.png", "quarter", ("refuse", {"width_px": 33})), context(tmp_path))
    failed = {part.lineage: part.reason for part in outcome.settled if part.reason}
    assert failed == {((1, 4),): "this operation refuses", ((3, 4),): "this operation refuses"}
    assert {part.lineage for part in outcome.settled} - set(failed) == {((0, 4),), ((2, 4),)}
    assert (outcome.disposition, outcome.failed_step) == (Fail("this operation refuses"), 1)
    assert list(files(tmp_path / "output")) == ["out/a-0.png", "out/a-2.png"]
    assert {measure.step: (measure.done, measure.failed) for measure in outcome.measures} == {0: (1, 0), 1: (2, 2)}


@pytest.mark.parametrize(
    ("source", "steps", "reason"),
    [
        ("missing.png", ("smooth",), "missing.png"),
        ("text.png", ("smooth",), "not an image"),
        ("a.png", ("refuse",), "this operation refuses"),
        ("a.png", ("broken",), "internal error: ZeroDivisionError: a bug"),
        ("a.png", ("greedy",), "more memory"),
        ("a.png", ("liar",), "internal error: RuntimeError: step liar made"),
        ("a.png", ("double", "double"), "double would make 256x192 px, 49152 in all; the limit is 20000 pixels"),
        ("tiny.png", ("quarter",), "1x1 is too small to cut"),
    ],
)
def test_what_cannot_be_done_fails_with_its_reason(tmp_path, source, steps, reason):
    write_source(tmp_path, "a.png", picture(64, 48))
    write_source(tmp_path, "tiny.png", picture(1, 1))
    (tmp_path / "source/text.png").write_text("hello")
    outcome = process(task(source, *steps), context(tmp_path, limits=ImageLimits(max_pixels=20000)))
    (settled,) = outcome.settled
    assert reason in (settled.reason or "")
    assert settled.lineage == ()
    assert isinstance(outcome.disposition, Fail)


class Away:
    """A store that is away."""

    def read(self, *_):
        raise Unavailable("blob store")

    def write(self, *_, **__):
        raise Unavailable("blob store")

    def write_many(self, blobs):
        return [None, Unavailable("blob store"), None, None][: len(blobs)]


@pytest.mark.parametrize("which", ["source", "work", "output"])
def test_a_store_that_is_away_makes_the_whole_task_one_to_retry(tmp_path, which):
    write_source(tmp_path, "a.png", picture(64, 48))
    steps = ("quarter",) if which == "output" else ("quarter", "smooth")
    outcome = process(task("a.png", *steps), context(tmp_path, only="quarter", **{which: Away()}))
    assert outcome.disposition == Retry(5, "blob store is unavailable")
    assert (outcome.settled, outcome.follow) == ((), ())


def test_a_store_that_stays_away_fails_the_task_in_the_end(tmp_path):
    outcome = process(task("a.png", "smooth", attempt=12), context(tmp_path, source=Away()))
    assert outcome.disposition == Fail("gave up after 12 attempts: blob store is unavailable")
    assert [part.lineage for part in outcome.settled] == [()]


@pytest.mark.parametrize("left", [None, b"", b"\0" * 1000], ids=["gone", "empty", "short"])
def test_an_intermediate_that_is_gone_is_told_as_such(tmp_path, left):
    """A late copy of a task, or what a power failure leaves of a file that nobody synced."""
    write_source(tmp_path, "a.png", picture(64, 48))
    (late,) = process(task("a.png", "half", "smooth"), context(tmp_path, only="half")).follow
    work = context(tmp_path).work
    if left is None:
        work.delete_prefix("b/")
    else:
        work.write(late.tiles[0].pixels.key, left)
    outcome = process(late, context(tmp_path))
    assert isinstance(outcome.disposition, Fail)
    assert outcome.tally is None
    assert [(part.reason, part.input_gone) for part in outcome.settled] == [(outcome.disposition.reason, True)]


def test_a_source_that_is_gone_is_a_failure_as_any_other(tmp_path):
    write_source(tmp_path, "b.png", picture(64, 48))
    outcome = process(task("a.png", "smooth"), context(tmp_path))
    assert isinstance(outcome.disposition, Fail)
    assert [part.input_gone for part in outcome.settled] == [None]


def test_a_fast_decode_gives_the_same_size_and_nearly_the_same_pixels(tmp_path):
    write_source(tmp_path, "a.jpg", np.full((1024, 512, 3), 90, np.uint8))
    outputs = {}
    for how in ("exact", "fast"):
        outcome = process(task("a.jpg", "half", decode=how, destination=how), context(tmp_path))
        outputs[how] = decode(context(tmp_path).output.read(outcome.outputs[0]))
    assert outputs["exact"].shape == outputs["fast"].shape == (512, 256, 3)
    assert np.abs(outputs["exact"].astype(int) - outputs["fast"]).max() <= 2


def test_measures_say_what_each_step_cost(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    outcome = process(task("a.png", "half", "quarter"), context(tmp_path))
    by_op = {measure.op: measure for measure in outcome.measures}
    assert (by_op["half"].done, by_op["half"].pixels) == (1, 64 * 48)
    assert (by_op["quarter"].done, by_op["quarter"].pixels) == (1, 32 * 24)
    assert by_op["half"].load_s > 0
    assert by_op["quarter"].store_s > 0


def test_wrong_parameters_fail_the_task_and_not_the_process(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    good = task("a.png", "smooth")
    step = good.route[0].model_copy(update={"params": {"radius": 3}})
    outcome = process(good.model_copy(update={"route": (step,)}), context(tmp_path))
    assert "parameters of smooth" in (outcome.settled[0].reason or "")


def test_outputs_take_the_encoding_of_the_batch(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    process(task("a.png", "smooth", encoding=Encoding(format="webp")), context(tmp_path))
    assert list(files(tmp_path / "output")) == ["out/a-0.webp"]


def test_a_follow_up_task_is_a_valid_message_with_a_fresh_attempt(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    (follow,) = process(task("a.png", "half", "smooth", attempt=3), context(tmp_path, only="half")).follow
    assert Task.from_bytes(follow.to_bytes()) == follow
    assert (follow.step, follow.attempt) == (1, 1)


def test_failpoints_are_hit_in_their_places(tmp_path):
    write_source(tmp_path, "a.png", picture(64, 48))
    hits: list[str] = []
    watched = context(tmp_path)
    process(
        task("a.png", "half", "smooth"),
        replace(watched, after_load=lambda: hits.append("load"), after_compute=lambda: hits.append("compute")),
    )
    assert hits == ["load", "compute", "compute"]
