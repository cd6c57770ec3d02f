"""The long form's own parts: every mix comes once, what a ledger loses is named, and a run that broke off goes on."""

from itertools import pairwise

from tests.chaos.truth import GuaranteeReport
from tests.upgrade.__main__ import Record
from tests.upgrade.ledgers import Account, differences
from tests.upgrade.long_form import Outcome
from tests.upgrade.survey import MIXES, PROCESSES

from muniflow.model.api import BATCHES
from muniflow.model.api_failures import LETTERS


def test_every_mix_comes_once_and_differs_from_the_one_before_by_one_process():
    assert len(set(MIXES)) == len(MIXES) == 2 ** len(PROCESSES)
    assert {len(one ^ other) for one, other in pairwise((*MIXES, MIXES[0]))} == {1}


def test_what_a_ledger_has_lost_or_changed_is_named():
    before: Account = {
        BATCHES: {("a",): {"state": "done", "done": 3, "steps": []}, ("b",): {"state": "failed", "kept": 1}},
        LETTERS: {(1,): {"number": 1}},
    }
    after: Account = {BATCHES: {("a",): {"state": "done", "done": 2, "steps": [1], "revision": 1}}}
    found = list(differences(before, after))
    assert found == [f"{BATCHES}: ('a',): {{\"done\": [3, 2]}}", f"{BATCHES}: ('b',) is no more"]


def test_a_part_that_was_run_is_not_run_again(tmp_path):
    out, ran = tmp_path / "out.jsonl", []

    def part():
        ran.append(1)
        return Outcome(mixes=8, problems=("x",), guarantees=GuaranteeReport(images=2, seed=1))

    for key in ("a", "a", "b"):
        record = Record(out, key)
        record.run("mixes 0 to 7", part)
        assert record.total(1) == Outcome(mixes=8, problems=("x",), guarantees=GuaranteeReport(images=2, seed=1))
    assert len(ran) == 2
    assert not record.total(1).clean
