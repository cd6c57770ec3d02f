"""Budgets and their settings."""

import json

import pytest

from muniflow.errors import Invalid
from muniflow.model.budget import Amounts, Budget, batch_faults, day_ends_in_s, day_faults, day_of
from muniflow.reason_codes import REFUSALS
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.settings import read_env, to_env

OWN = {"utrecht": {"batch": {"images": 0}, "day": {"megapixels": 5.5}}, "delft": {}}


def test_a_batch_is_held_against_each_amount():
    needed = Amounts(images=11, outputs=44, megapixels=1234.5, seconds=2)
    faults = batch_faults(needed, Budget(images=10, outputs=44, megapixels=1000, seconds=3), "THE_SETTING")
    assert [(fault.place, fault.problem, fault.reason_code) for fault in faults] == [
        ("images", "the batch needs 11 images; one batch may have 10 images (THE_SETTING, `images`)", "batch_budget"),
        (
            "operations",
            "the batch needs 1,234 megapixels; one batch may have 1,000 megapixels (THE_SETTING, `megapixels`)",
            "batch_budget",
        ),
    ]
    assert batch_faults(needed, Budget(), "") == ()


def test_a_day_counts_what_was_spent():
    budget, needed = Budget(megapixels=100), Amounts(images=5, megapixels=30)
    assert day_faults(needed, Amounts(megapixels=70), budget, "delft", "") == ()
    (fault,) = day_faults(needed, Amounts(megapixels=70.5), budget, "delft", "X")
    assert fault.reason_code == "day_budget"
    assert fault.problem == (
        "the batch needs 30 megapixels; of the 100 megapixels a day 'delft' has 29.5 megapixels left, "
        "until midnight UTC (X, `megapixels`)"
    )


def test_a_day_is_one_of_utc():
    assert day_of(1_795_910_399.5) + 1 == day_of(1_795_910_400)
    assert day_ends_in_s(1_795_910_399.5) == 0.5
    assert day_ends_in_s(1_795_910_400) == 86_400


def test_settings_say_what_an_owner_has_and_where_that_is_said():
    settings = read_env(BudgetSettings, {
        "MUNIFLOW_BATCH_BUDGET": '{"megapixels": 7}', "MUNIFLOW_DAY_BUDGET": '{"images": 3}',
        "MUNIFLOW_OWNER_BUDGETS": json.dumps(OWN),
    })  # fmt: skip
    assert (settings.of_batch("x").images, settings.of_batch("x").megapixels) == (2_000_000, 7)
    assert (settings.of_batch("utrecht").images, settings.of_batch("utrecht").megapixels) == (0, 7)
    assert (settings.of_day("utrecht").images, settings.of_day("utrecht").megapixels) == (3, 5.5)
    assert settings.named("utrecht", "day") == "MUNIFLOW_OWNER_BUDGETS"
    assert settings.named("delft", "day") == "MUNIFLOW_DAY_BUDGET"
    assert read_env(BudgetSettings, to_env(settings)) == settings
    assert not BudgetSettings().of_day("x").limited


@pytest.mark.parametrize(("name", "value", "place"), [
    ("OWNER_BUDGETS", "{", "MUNIFLOW_OWNER_BUDGETS"), ("OWNER_BUDGETS", "[]", "MUNIFLOW_OWNER_BUDGETS"),
    ("OWNER_BUDGETS", '{"a.b": {}}', "MUNIFLOW_OWNER_BUDGETS"),
    ("OWNER_BUDGETS", '{"a": {"day": {"pixels": 1}}}', "MUNIFLOW_OWNER_BUDGETS.a.day.pixels"),
    ("DAY_BUDGET", '{"images": -1}', "MUNIFLOW_DAY_BUDGET.images"),
    ("BATCH_BUDGET", '{"images": "many"}', "MUNIFLOW_BATCH_BUDGET.images"),
])  # fmt: skip
def test_a_wrong_setting_is_named(name, value, place):
    with pytest.raises(Invalid) as caught:
        read_env(BudgetSettings, {f"MUNIFLOW_{name}": value})
    assert [fault.place for fault in caught.value.faults] == [place]


def test_every_code_of_a_refusal_is_documented(pytestconfig):
    page = (pytestconfig.rootpath / "docs/reference/limits.md").read_text()
    assert all(f"`{code}`" in page for code in REFUSALS)
