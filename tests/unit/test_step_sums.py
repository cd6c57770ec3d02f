"""Sums of a step: declared once, added field by field, and in the models that travel."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.api import StepProgress
from muniflow.model.messages import Tally
from muniflow.model.step_sums import SUMS, StepSums

whole = st.integers(0, 2**40)
sums = st.builds(StepSums, **{each.name: whole for each in fields(StepSums)})


@given(sums, sums)
def test_each_of_them_is_added(one, other):
    expected = {name: getattr(one, name) + getattr(other, name) for name in SUMS}
    one.add(other)
    assert one.values() == expected


@pytest.mark.parametrize("model", [Tally, StepProgress])
def test_a_model_that_travels_has_them_all_under_the_same_names(model):
    ours = {each.name: (each.type, each.default) for each in fields(StepSums)}
    theirs = {name: (field.annotation, field.default) for name, field in model.model_fields.items()}
    assert ours.items() <= theirs.items()


def test_a_tally_gives_its_sums():
    tally = Tally(batch="b", step=3, done=4, failed=1, retried=2, pixels=10, compute_s=0.5)
    assert tally.sums == StepSums(done=4, failed=1, pixels=10, compute_s=0.5)


def test_what_a_later_build_adds_is_left_out():
    assert StepSums.read({"done": 2, "colour": 1}) == StepSums(done=2)
