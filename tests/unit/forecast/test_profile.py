"""Service times of classes that were observed, and of those that were not."""

import itertools
import json

import pytest

from muniflow.errors import Invalid
from muniflow.forecast.defaults import Costs, OperationCost
from muniflow.forecast.profile import Profile, read_profile
from muniflow.forecast.service_time import EARLIER_LENGTH, Sums
from muniflow.forecast.task_class import TaskClass, reads_of
from muniflow.model.messages import RouteStep

RESIZE = RouteStep(op="resize", params={"percent": 50.0})
SPLIT = RouteStep(op="split", params={"columns": 2, "rows": 2}, fan_out=4)


def blur(method, **params):
    return RouteStep(op="blur", params={"method": method, **params})


def task_class(*steps, reads="raw", writes="raw", device="cpu", decode="exact"):
    return TaskClass.of(steps, reads, writes, device, decode)


GAUSSIAN = task_class(blur("gaussian"), writes="jpg")
CHAIN = task_class(RESIZE, SPLIT, blur("gaussian"), reads="jpg", writes="jpg")


def test_the_default_of_the_common_chain_is_what_the_documentation_says():
    """About 8 ms of CPU per megapixel from 1024 x 1024 on, and 2.0 ms in the child at 512 x 512."""
    time = Costs().of(CHAIN)
    for mp, seconds in ((0.262, 0.0028), (1.05, 0.0083), (4.19, 0.033), (32, 0.26)):
        assert time.seconds(mp, mp / 4) == pytest.approx(seconds, rel=0.35)


@pytest.mark.parametrize(("cheap", "dear"), [
    (GAUSSIAN, task_class(blur("bilateral"), writes="jpg")),
    (task_class(blur("bilateral", diameter=5)), task_class(blur("bilateral", diameter=15))),
    (GAUSSIAN, task_class(blur("gaussian", kernel=31), writes="jpg")),
    (GAUSSIAN, task_class(blur("gaussian"), writes="webp")),
    (task_class(SPLIT), task_class(RESIZE)),
    (task_class(RESIZE), task_class(RESIZE, reads="jpg")),
    (task_class(RESIZE, reads="jpg", decode="fast"), task_class(RESIZE, reads="jpg")),
    (GAUSSIAN, task_class(RouteStep(op="sharpen"), writes="jpg")),
])  # fmt: skip
def test_defaults_are_in_order(cheap, dear):
    assert 0 < Costs().of(cheap).seconds(4, 4) < Costs().of(dear).seconds(4, 4)


def test_a_split_by_reference_costs_its_message_alone():
    time = Costs().of(task_class(SPLIT))
    assert time.seconds(100, 100) == time.seconds(0, 0) > 0


def test_a_calibration_replaces_what_it_measured():
    costs = Costs().calibrated({"blur:gaussian": OperationCost(0.5)}, {"raw": 0.0}, {})
    assert costs.of(GAUSSIAN).b_s_per_mp_in == 0.5
    assert costs.of(task_class(RESIZE)).c_s_per_mp_out == Costs().of(task_class(RESIZE)).c_s_per_mp_out


def test_keys_are_short_stable_and_tell_classes_apart():
    others = [
        GAUSSIAN, CHAIN, task_class(RESIZE), task_class(RESIZE, reads="png"), task_class(RESIZE, device="opencl:0"),
        task_class(RouteStep(op="resize", params={"percent": 51.0})), task_class(RESIZE, reads="jpg", decode="fast"),
        task_class(*[RESIZE, blur("median")] * 16),
    ]  # fmt: skip
    assert all(one.key != other.key for one, other in itertools.combinations(others, 2))
    assert all(len(one.key) <= 80 for one in others)
    assert CHAIN.key == "resize+split+blur/jpg-jpg/cpu/" + CHAIN.key[-12:]
    assert (
        task_class(blur("bilateral", diameter=9)).key
        == task_class(RouteStep(op="blur", params={"diameter": 9, "method": "bilateral"})).key
    )
    assert task_class(RESIZE, decode="fast") == task_class(RESIZE)  # raw pixels are not decoded


@pytest.mark.parametrize(("key", "reads"), [
    ("a/b.JPG", "jpg"), ("a.jpeg", "jpg"), ("a.tif", "tiff"), ("a.png", "png"), ("a.webp", "webp"), ("a", "jpg"),
])  # fmt: skip
def test_formats_of_keys(key, reads):
    assert reads_of(key) == reads


def test_a_class_never_observed_is_as_slow_as_the_others_on_its_device():
    expected = Costs().of(CHAIN)
    seen = Sums()
    for number in range(1, 60):
        seen += Sums.of(number / 4, number / 16, 3 * expected.seconds(number / 4, number / 16))
    profile = Profile(observed={CHAIN: seen})
    assert profile.service_time(GAUSSIAN).seconds(4, 4) == pytest.approx(
        3 * Costs().of(GAUSSIAN).seconds(4, 4), rel=0.1
    )
    other = task_class(blur("gaussian"), writes="jpg", device="opencl:0")
    assert profile.service_time(other) == Costs().of(other)


def test_costs_that_were_measured_here_count_as_much_as_three_classes():
    """A class of small images took 40% less than measured, and the first large ones were forecast a third too short."""
    measured = Costs().calibrated({"sharpen": OperationCost(0.5)}, {}, {})
    expected = measured.of(CHAIN)
    seen = Sums()
    for number in range(1, 200):
        seen += Sums.of(number / 4, number / 16, 0.6 * expected.seconds(number / 4, number / 16))
    found = Profile(measured, {CHAIN: seen}).service_time(GAUSSIAN).seconds(4, 4)
    assert found == pytest.approx(0.6**0.25 * measured.of(GAUSSIAN).seconds(4, 4), rel=0.01)


def test_a_profile_is_read_back():
    costs = Costs(message_s=0.1).calibrated({"sharpen": OperationCost(0.5)}, {"jpg": 0.2}, {"png": 0.3}, 0.4)
    profile = Profile(costs, {CHAIN: Sums.of(1, 0.5, 3)})
    assert read_profile(profile.to_json()) == profile
    assert read_profile("{}") == Profile()


def test_a_profile_of_an_earlier_build_is_read():
    seen = Sums.of(1, 0.5, 3)
    document = Profile(observed={CHAIN: seen}).document()
    del document["output_s"]
    document["observed"][0]["sums"] = seen.as_list()[:EARLIER_LENGTH]
    assert read_profile(json.dumps(document)) == Profile(observed={CHAIN: seen})


@pytest.mark.parametrize(("text", "place"), [
    ("no", ""),
    ("[]", ""),
    ('{"colour": 1}', "colour"),
    ('{"decode_s_per_mp": {"jpg": -1}}', "decode_s_per_mp.jpg"),
    ('{"observed": [{"class": {"steps": [{"op": "blur"}]}, "sums": [1]}]}', "observed[0].sums"),
    ('{"observed": [{"class": {"steps": [{"op": "blur"}]}, "sums": [' + "1," * 13 + "1]}]}", "observed[0].sums"),
    ('{"observed": [{"class": {"steps": []}, "sums": [1]}]}', "observed[0].class.steps"),
])  # fmt: skip
def test_faults_of_a_profile_are_named_by_place(text, place):
    with pytest.raises(Invalid) as caught:
        read_profile(text)
    assert place in [fault.place for fault in caught.value.faults]
