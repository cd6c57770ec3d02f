"""Lineages and coverage, against a model that counts leaves one by one."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.lineage import (
    WHOLE,
    Coverage,
    Lineage,
    children_of,
    fraction,
    is_ancestor,
    joined,
    label,
    leaf_index,
    lineage_of,
)


def leaves_of(fan_outs: list[int]) -> list[Lineage]:
    """All leaves in split order, made by walking down as workers do."""
    leaves: list[Lineage] = [WHOLE]
    for of in fan_outs:
        leaves = [child for leaf in leaves for child in children_of(leaf, of)]
    return leaves


fan_outs_of_a_route = st.lists(st.integers(1, 5), max_size=4)


@given(fan_outs=fan_outs_of_a_route)
def test_leaf_indexes_count_the_leaves_in_split_order(fan_outs: list[int]) -> None:
    leaves = leaves_of(fan_outs)
    assert [leaf_index(leaf) for leaf in leaves] == list(range(len(leaves)))


@given(fan_outs=fan_outs_of_a_route, data=st.data())
def test_joined_lineages_are_the_fewest_that_cover_the_same_leaves(fan_outs: list[int], data: st.DataObject) -> None:
    leaves = leaves_of(fan_outs)
    some = data.draw(st.lists(st.sampled_from(leaves), unique=True))
    found = joined(some)
    assert [leaf for leaf in leaves if any(is_ancestor(part, leaf) for part in found)] == sorted(some)
    assert sum(map(fraction, found)) == sum(map(fraction, some))
    assert joined(found) == found
    for part in filter(None, found):  # a part is there only where one of its siblings is not whole
        siblings = [(*part[:-1], (child, part[-1][1])) for child in range(part[-1][1])]
        assert not set(siblings) <= set(found)


@pytest.mark.parametrize(
    ("lineages", "expected"),
    [
        ([], []),
        ([()], [()]),
        ([((1, 2),), ((0, 2),)], [()]),
        ([((1, 2),)], [((1, 2),)]),
        ([((0, 2), (0, 2)), ((0, 2), (1, 2)), ((1, 2), (1, 2))], [((0, 2),), ((1, 2), (1, 2))]),
        ([((0, 2), (0, 2)), ((0, 2), (1, 2)), ((1, 2),)], [()]),
    ],
)
def test_joined(lineages: list[Lineage], expected: list[Lineage]) -> None:
    assert joined(lineages) == expected


@given(fan_outs=fan_outs_of_a_route)
def test_labels_are_unique_and_safe_in_a_key(fan_outs: list[int]) -> None:
    labels = [label(leaf) for leaf in leaves_of(fan_outs)]
    assert len(set(labels)) == len(labels)
    assert all(text.replace(".", "").isalnum() for text in labels)


@pytest.mark.parametrize(
    ("lineage", "text", "covers"),
    [(WHOLE, "whole", 1), (((2, 4),), "2of4", Fraction(1, 4)), (((2, 4), (0, 6)), "2of4.0of6", Fraction(1, 24))],
)
def test_label_and_fraction(lineage: Lineage, text: str, covers: Fraction) -> None:
    assert label(lineage) == text
    assert fraction(lineage) == covers


def test_an_only_child_keeps_its_parents_lineage() -> None:
    assert children_of(((1, 4),), 1) == [((1, 4),)]


@pytest.mark.parametrize(
    ("ancestor", "of", "expected"),
    [
        (WHOLE, ((0, 2),), True),
        (((0, 2),), ((0, 2),), True),
        (((0, 2),), ((0, 2), (1, 3)), True),
        (((0, 2), (1, 3)), ((0, 2),), False),
        (((1, 2),), ((0, 2), (1, 3)), False),
    ],
)
def test_is_ancestor(ancestor: Lineage, of: Lineage, *, expected: bool) -> None:
    assert is_ancestor(ancestor, of) is expected


@given(data=st.data(), fan_outs=st.lists(st.integers(2, 4), max_size=3))
def test_coverage_is_exact_in_any_order_with_any_duplicates(data: st.DataObject, fan_outs: list[int]) -> None:
    leaves = leaves_of(fan_outs)
    parts = sorted({leaf[:depth] for leaf in leaves for depth in range(len(leaf) + 1)})
    coverage = Coverage()
    covered: set[Lineage] = set()
    for part in data.draw(st.lists(st.sampled_from(parts), max_size=40)):
        below = {leaf for leaf in leaves if is_ancestor(part, leaf)}
        assert coverage.add(part) == bool(below - covered)
        covered |= below
        assert coverage.covered == Fraction(len(covered), len(leaves))
        assert coverage.complete == (len(covered) == len(leaves))


@given(order=st.permutations(range(12)), doubled=st.lists(st.integers(0, 11), max_size=12))
def test_every_order_of_all_leaves_completes_with_the_last(order: list[int], doubled: list[int]) -> None:
    leaves = leaves_of([3, 4])
    coverage = Coverage.of(leaves[index] for index in order[:-1])
    for index in doubled:
        if index != order[-1]:
            assert not coverage.add(leaves[index])
    assert not coverage.complete
    assert coverage.add(leaves[order[-1]])
    assert coverage.complete


def test_a_failed_parent_covers_what_its_children_left_open() -> None:
    coverage = Coverage.of([((0, 4),), ((1, 4),)])
    assert coverage.add(WHOLE)
    assert coverage.complete
    assert not coverage.add(((3, 4),))


def test_coverage_of_unequal_depths() -> None:
    tiles = [((0, 2),), *(((1, 2), (child, 3)) for child in range(3))]
    for order in product(tiles, repeat=len(tiles)):
        assert Coverage.of(order).complete == (set(order) == set(tiles))


@pytest.mark.parametrize("lineage", [(), ((0, 2),), ((3, 4), (1, 2), (0, 4096))])
def test_a_lineage_is_read_back_from_its_label(lineage: Lineage) -> None:
    assert lineage_of(label(lineage)) == lineage
