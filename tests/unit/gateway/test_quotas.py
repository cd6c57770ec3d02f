import pytest

from muniflow_gateway.auth.api_keys import ApiKey
from muniflow_gateway.auth.quotas import Bucket, Quotas
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def test_a_bucket_gives_what_it_holds_and_fills_up_again():
    bucket = Bucket.full(60, 60, now_s=0)

    assert [bucket.take(30, 0), bucket.take(30, 0), bucket.take(1, 0)] == [0, 0, 1]
    assert bucket.take(10, 9) == 1
    assert bucket.take(10, 10) == 0


def test_more_than_a_bucket_holds_leaves_a_debt():
    bucket = Bucket.full(10, 10, now_s=0)

    assert bucket.take(25, 0) == 0
    assert bucket.take(1, 0) == 16
    assert bucket.take(1, 16) == 0


def test_each_key_has_its_own_quota_and_hears_when_to_come_again():
    clock = Clock()
    quotas = Quotas(GatewaySettings(requests_per_minute=2), clock)
    small = ApiKey(name="small", sha256="0" * 64, requests_per_minute=1)
    quotas.of("small", small).take_request()
    quotas.of("other", None).take_request()
    quotas.of("other", None).take_request()

    with pytest.raises(Problem) as refused:
        quotas.of("small", small).take_request()
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "60")

    clock.now_s += 60
    quotas.of("small", small).take_request()


def test_pixels_have_no_quota_of_their_own_where_nobody_asks_for_it():
    Quotas(GatewaySettings(), Clock()).of("a", None).take_pixels(10**18)


def test_bytes_and_pixels_are_counted_apart():
    quotas = Quotas(GatewaySettings(mebibytes_per_hour=1, megapixels_per_hour=1), Clock())
    allowance = quotas.of("a", None)

    allowance.take_bytes(2**20)
    allowance.take_pixels(10**6)

    for take in (allowance.take_bytes, allowance.take_pixels):
        with pytest.raises(Problem, match="used up"):
            take(1)
