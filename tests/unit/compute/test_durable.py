"""Outputs are synced in groups; a whole volume only where no intermediates are on it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.compute_help import context, picture, task, write_source

from muniflow.compute.context import Context
from muniflow.compute.durable import SYNC_TOGETHER, Durability, make_durable
from muniflow.compute.groups import Result
from muniflow.compute.outcome import Outcome
from muniflow.compute.process import process
from muniflow.errors import Unavailable
from muniflow.model.messages import Task
from muniflow.model.settlement import Done, Retry
from muniflow.store.local import LocalStore


class Output(LocalStore):
    """A store that remembers what was synced, and can be away."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.synced: list[tuple[int, bool]] = []
        self.away = False

    def sync(self, keys: Sequence[str], *, whole_volume: bool = False) -> None:
        if self.away:
            raise Unavailable("blob store", "the disk is gone")
        self.synced.append((len(keys), whole_volume))
        super().sync(keys, whole_volume=whole_volume)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    write_source(tmp_path, "a.png", picture(8, 8))
    return Output(tmp_path / "output")


def durable(root: Path, output: Output, only: str | None = None) -> Context:
    return context(root, only=only, output=output, durable_outputs=True)


def finish(durability: Durability, results: list[Result]) -> list[Result]:
    told: list[list[Result]] = []
    durability.finish(results, lambda all_of_it, _: told.append(all_of_it)).result(timeout=30)
    assert len(told) == 1
    return told[0]


def second_half(root: Path, output: Output) -> Task:
    """A task that begins with intermediates."""
    (follow,) = process(task("a.png", "double", "smooth"), durable(root, output, "double")).follow
    return follow


def test_a_group_from_sources_to_outputs_syncs_the_whole_volume(tmp_path: Path, output: Output) -> None:
    carried, work = durable(tmp_path, output), task("a.png", "smooth")
    durability = Durability(carried)
    results = [(work, process(work, carried)) for _ in range(3)]
    for result in results:
        durability.add(*result)
    assert finish(durability, results) == results
    assert output.synced == [(3, True)]


def test_a_group_that_read_an_intermediate_syncs_its_files(tmp_path: Path, output: Output) -> None:
    carried = durable(tmp_path, output, "smooth")
    durability = Durability(carried)
    begun, whole = second_half(tmp_path, output), task("a.png", "smooth", image=1)
    for work in (whole, begun):
        durability.add(work, process(work, carried))
    finish(durability, [])
    assert output.synced == [(2, False)]
    durability.add(whole, process(whole, carried))
    finish(durability, [])
    assert output.synced == [(2, False), (1, True)], "the next group is another one"


def test_a_long_group_is_synced_while_it_is_computed(tmp_path: Path, output: Output) -> None:
    carried, work = durable(tmp_path, output), task("a.png", "smooth")
    durability, outcome = Durability(carried), process(work, carried)
    for _ in range(SYNC_TOGETHER + 1):
        durability.add(work, outcome)
    finish(durability, [(work, outcome)])
    assert sorted(output.synced) == [(1, True), (SYNC_TOGETHER, True)]


def test_what_is_not_durable_is_done_again(tmp_path: Path, output: Output) -> None:
    carried, work = durable(tmp_path, output), task("a.png", "smooth")
    durability, outcome = Durability(carried), process(work, carried)
    output.away = True
    durability.add(work, outcome)
    ((_, again),) = finish(durability, [(work, outcome)])
    assert isinstance(again.disposition, Retry)
    assert (again.settled, again.outputs) == ((), ())


def test_outputs_that_need_not_survive_are_not_synced(tmp_path: Path, output: Output) -> None:
    carried, work = context(tmp_path, output=output), task("a.png", "smooth")
    durability, outcome = Durability(carried), process(work, carried)
    durability.add(work, outcome)
    finish(durability, [(work, outcome)])
    assert make_durable(work, outcome, carried) is outcome
    assert output.synced == []


@pytest.mark.parametrize("away", [False, True])
def test_one_task_alone_is_synced_likewise(tmp_path: Path, output: Output, *, away: bool) -> None:
    carried, work = durable(tmp_path, output), task("a.png", "smooth")
    outcome: Outcome = process(work, carried)
    output.away = away
    disposition = make_durable(work, outcome, carried).disposition
    assert isinstance(disposition, Retry if away else Done)
    assert output.synced == ([] if away else [(1, True)])
