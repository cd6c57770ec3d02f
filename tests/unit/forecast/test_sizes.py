"""Which images are looked at."""

import random
import time
import tracemalloc

import pytest
from tests.support.forecast_help import photo

from muniflow.forecast.sizes import READ_ALL_IMAGES, SAMPLE_IMAGES, SizeSample, choose, sample_places


@pytest.mark.parametrize("count", [0, 1, 999, READ_ALL_IMAGES])
def test_all_images_of_a_small_batch(count):
    choice = choose((str(number) for number in range(count)), random.Random(1))
    assert choice.count == count
    assert choice.places == tuple(range(count)) == tuple(sample_places(count, random.Random(1)))
    assert choice.keys == tuple(map(str, range(count)))


@pytest.mark.parametrize("count", [READ_ALL_IMAGES + 1, 5_000, 123_456])
def test_a_sample_of_a_large_one(count):
    choice = choose((str(number) for number in range(count)), random.Random(1))
    assert choice.count == count
    for places in (choice.places, sample_places(count, random.Random(1))):
        assert len(set(places)) == SAMPLE_IMAGES
        assert list(places) == sorted(places)
        assert places[-1] < count
    assert choice.keys == tuple(map(str, choice.places))


def test_every_image_has_the_same_chance():
    dice = random.Random(3)
    means = []
    for _ in range(60):
        choice = choose(map(str, range(9_000)), dice)
        means.append(sum(choice.places) / len(choice.places))
    # The mean of a sample has a deviation of 77 here, that of 60 samples of 10.
    assert sum(means) / len(means) == pytest.approx(4_499.5, abs=50)
    assert max(means) - min(means) < 600


def photographs_and_thumbnails(count):
    """Megapixels: eight images of a thousand have a third of the pixels."""
    return [32.0 if number % 125 == 0 else 4.2 if number % 20 == 0 else 0.26 for number in range(count)]


@pytest.mark.parametrize(("count", "off"), [(1_500, 0.0), (100_000, 0.12)])
def test_few_large_images_among_many_are_counted(count, off):
    """A sample of 400 was off by 16% as a rule, and one batch in three by more."""
    sizes = photographs_and_thumbnails(count)
    mean, errors = sum(sizes) / count, []
    for seed in range(30):
        places = sample_places(count, random.Random(seed))
        errors.append(sum(sizes[place] for place in places) / len(places) / mean - 1)
    assert (sum(error * error for error in errors) / len(errors)) ** 0.5 <= off + 1e-9


def test_a_million_images_take_less_than_a_second_and_no_memory():
    keys = (f"folder/{number}.jpg" for number in range(1_000_000))
    started = time.process_time()
    assert choose(keys, random.Random(1)).count == 1_000_000
    assert len(sample_places(1_000_000, random.Random(1))) == SAMPLE_IMAGES
    assert time.process_time() - started < 1
    tracemalloc.start()
    choose(map(str, range(200_000)), random.Random(1))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_sample_knows_what_it_stands_for():
    sample = SizeSample.of(30, [20, 0, 10], [photo(), None, photo()])
    assert [entry.place for entry in sample.entries] == [0, 10, 20]
    assert (sample.sampled, sample.unreadable) == (3, 1)
    assert SizeSample.from_json(sample.to_json()) == sample
