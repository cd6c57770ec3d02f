"""The files that people write for a forecast may begin with a byte order mark."""

import pytest

from muniflow.forecast.cost import read_prices
from muniflow.forecast.profile import Profile, read_profile
from muniflow.forecast.stage import Stage, read_stages, write_stages

STAGES = (Stage(name="resize", operations=("resize",)),)


@pytest.mark.parametrize("encode", [str, str.encode])
def test_it_is_ignored(encode) -> None:
    assert read_stages(encode("\ufeff" + write_stages(STAGES))) == STAGES
    assert read_profile(encode("\ufeff" + Profile().to_json())) == Profile()
    prices = '{"default": {"per_node_hour": 0.12, "replicas_per_node": 4}}'
    assert read_prices(encode("\ufeff" + prices), STAGES) == read_prices(prices, STAGES)
