"""Shares of a batch: which images they have, and how they are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.errors import Invalid
from muniflow.model.share import INDEX_VARIABLES, MAX_SHARES, Share, read_share


@given(images=st.integers(0, 500), of=st.integers(1, 60))
def test_shares_are_disjoint_and_cover_the_batch_whatever_its_size(images: int, of: int) -> None:
    shares = [list(Share(number, of).numbers(images)) for number in range(1, of + 1)]

    assert sorted(n for numbers in shares for n in numbers) == list(range(images))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for number, numbers in enumerate(shares, 1):
        assert [Share(number, of).position(n) for n in numbers] == list(range(len(numbers)))


@pytest.mark.parametrize(("text", "share"), [("1/1", Share(1, 1)), ("3/20", Share(3, 20)), ("20/20", Share(20, 20))])
def test_a_share_is_read_as_it_is_written(text, share):
    assert read_share(text, {}) == share
    assert str(share) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/4", "--shard: 0/4: shares are numbered from 1 to 4"),
        ("5/4", "--shard: 5/4: shares are numbered from 1 to 4"),
        ("1/0", "--shard: 1/0: a batch has 1 to"),
        (f"1/{MAX_SHARES + 1}", "a batch has 1 to"),
        ("x", "--shard: 'x' is not a share: write 3/20"),
        ("", "'' is not a share"),
        ("-1/4", "is not a share"),
        ("1/4/2", "is not a share"),
        ("1 /4", "is not a share"),
        ("\u0663/4", "is not a share"),
        ("1/" + "9" * 5000, "is not a share"),
        ("auto", "--shard: auto needs the variables of an indexed job, and none is set: JOB_COMPLETION_INDEX and MUNI"),
    ],
)
def test_what_is_no_share_is_said(text, said):
    with pytest.raises(Invalid) as raised:
        read_share(text, {})

    assert said in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("variables", INDEX_VARIABLES, ids=lambda each: each.platform)
def test_auto_takes_the_share_from_the_variables_of_each_platform(variables):
    def read(index, count):
        return read_share("auto", {variables.index_name: index, variables.count_name: count})

    assert [read(str(index), "3") for index in range(3)] == [Share(number, 3) for number in (1, 2, 3)]
    wrong = [
        ("3", "3", f"{variables.index_name}: 3: with {variables.count_name}=3 it is at most 2"),
        ("-1", "3", f"{variables.index_name}: '-1' is not a whole number"),
        ("", "3", f"{variables.index_name}: '' is not a whole number"),
        ("0", "many", f"{variables.count_name}: 'many' is not a whole number"),
        ("0", "0", f"{variables.count_name}: 0: a batch has 1 to"),
    ]
    for index, count, said in wrong:
        with pytest.raises(Invalid) as raised:
            read(index, count)
        assert said in str(raised.value)
    with pytest.raises(Invalid, match=f"{variables.count_name}: not set; with {variables.index_name}"):
        read_share("auto", {variables.index_name: "0"})


def test_auto_does_not_choose_between_two_platforms():
    env = {name: "1" for variables in INDEX_VARIABLES[:2] for name in (variables.index_name, variables.count_name)}

    with pytest.raises(Invalid, match="JOB_COMPLETION_INDEX and AWS_BATCH_JOB_ARRAY_INDEX are set"):
        read_share("auto", env)


def test_the_names_of_the_variables_are_those_of_the_platforms():
    assert [variables[1:] for variables in INDEX_VARIABLES] == [
        ("JOB_COMPLETION_INDEX", "MUNIFLOW_SHARDS"),
        ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
        ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    ]
