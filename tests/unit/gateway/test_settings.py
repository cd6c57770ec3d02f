import asyncio

import pytest

from muniflow.errors import Invalid
from muniflow.images.limits import PIXELS_BACKSTOP
from muniflow_gateway.service import make_dependencies


@pytest.mark.parametrize("pixels", ["0", str(PIXELS_BACKSTOP + 1)])
def test_a_pixel_limit_that_no_worker_takes_stops_the_gateway_too(pixels):
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(Invalid, match="MUNIFLOW_MAX_PIXELS"):
            make_dependencies({"MUNIFLOW_MAX_PIXELS": pixels}, loop)
    finally:
        loop.close()
