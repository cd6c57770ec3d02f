"""What `muniflow dead` chooses, and what it asks of the coordinator."""

import pytest
from click.testing import CliRunner

from muniflow.model.api_failures import FailureCount, StrayLetter
from muniflow.model.messages import Command
from muniflow_cli.commands import exits
from muniflow_cli.commands.dead import command
from muniflow_cli.commands.dead_letters import FailureChoice, commands_for

GROUPS = (FailureCount(batch_id="utrecht", reason_code="image_damaged", operation="resize", images=700_000),)
LETTER = StrayLetter(number=4, queue="muniflow.batches.dead", reason="no", at=1.0, bytes=3)


@pytest.mark.parametrize(("choice", "failures", "letters"), [
    (FailureChoice(), True, True),
    (FailureChoice(batch="utrecht"), True, False),
    (FailureChoice(stage="blur"), True, False),
    (FailureChoice(stage="batches"), False, True),
    (FailureChoice(reason_code="crashed"), True, False),
    (FailureChoice(letter=4), False, True),
    (FailureChoice(owner="utrecht"), True, False),
])  # fmt: skip
def test_what_may_be_meant(choice, failures, letters):
    assert (choice.has_failures, choice.has_letters) == (failures, letters)


def test_one_command_is_enough_for_any_number_of_failures():
    choice = FailureChoice(batch="utrecht", stage="resize", reason_code="image_damaged")
    [command] = commands_for("replay", choice, GROUPS, ())
    assert command == Command(
        action="reopen", batch="utrecht", operation="resize", reason_code="image_damaged"
    )  # fmt: skip
    assert commands_for("replay", FailureChoice(), GROUPS, ()) == [Command(action="reopen")]
    assert commands_for("drop", FailureChoice(batch="b", image=3), GROUPS, ()) == [
        Command(action="drop", batch="b", image=3)
    ]


def test_of_an_owner_each_batch_has_a_command_as_a_command_names_no_owner():
    groups = [
        FailureCount(batch_id=batch, reason_code=code, operation="resize", images=1)
        for batch, code in (("a", "crashed"), ("a", "image_damaged"), ("b", "crashed"))
    ]
    assert commands_for("drop", FailureChoice(owner="utrecht", stage="resize"), groups, ()) == [
        Command(action="drop", batch=batch, operation="resize") for batch in ("a", "b")
    ]
    choice = FailureChoice(owner="utrecht", batch="a")
    assert choice.query()["owner"] == "utrecht"
    assert commands_for("replay", choice, groups[:1], ()) == [Command(action="reopen", batch="a")]
    assert commands_for("replay", choice, (), ()) == [], "a batch of somebody else"


@pytest.mark.parametrize("other", [("--letter", "4"), ("--stage", "batches")])
def test_what_is_no_task_has_no_owner(other):
    done = CliRunner().invoke(command, ["list", "--owner", "utrecht", *other])
    assert done.exit_code == exits.USAGE
    assert "have no owner" in done.output


def test_a_letter_has_a_command_of_its_own_and_nothing_needs_none():
    assert commands_for("replay", FailureChoice(letter=4), (), [LETTER]) == [Command(action="replay_letter", letter=4)]
    assert commands_for("drop", FailureChoice(), (), [LETTER]) == [Command(action="drop_letter", letter=4)]
    assert commands_for("replay", FailureChoice(batch="none"), (), ()) == []


def test_a_replay_of_one_image_travels_as_before():
    """So a coordinator of an earlier build understands it."""
    command = Command(action="reopen", batch="utrecht", image=7)
    assert command.to_bytes() == b'{"v":1,"action":"reopen","batch":"utrecht","image":7}'
