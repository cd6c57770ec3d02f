"""Sizes that somebody lists stand for all images, each in its proportion."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from muniflow.planning.sampling import MAX_GIVEN, GivenSize, given_sizes


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=20))
def test_each_size_has_its_proportion(counts: list[int]) -> None:
    sample = given_sizes([GivenSize(width=n + 1, height=7, count=count) for n, count in enumerate(counts)]).sample
    assert sample.count == sum(counts)
    assert sample.sampled == min(sample.count, MAX_GIVEN)
    found = Counter(entry.picture.size.width_px for entry in sample.entries if entry.picture)
    for number, count in enumerate(counts):
        assert abs(found[number + 1] - count * sample.sampled / sample.count) <= 1


def test_few_images_are_all_there_in_their_order() -> None:
    sizes = [GivenSize(width=4000, height=3000, count=2), GivenSize(width=100, height=100, format="png")]
    pictures = [entry.picture for entry in given_sizes(sizes).sample.entries]
    assert [(p.size.width_px, p.reads) for p in pictures if p] == [(4000, "jpg"), (4000, "jpg"), (100, "png")]
