from contextlib import suppress

import pytest

from muniflow.runtime.startable import Startable


class Thing(Startable):
    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.seen: list[str] = []

    def start(self) -> None:
        self.seen.append("start")
        if not self.starts:
            raise OSError("the port is taken")

    def stop(self) -> None:
        self.seen.append("stop")


@pytest.mark.parametrize("starts", [True, False])
@pytest.mark.parametrize("works", [True, False])
def test_it_is_stopped_however_the_block_ends(starts, works):
    thing = Thing(starts=starts)

    with suppress(OSError, ZeroDivisionError), thing:
        thing.seen.append("work")
        assert works or 1 / 0

    assert thing.seen == ["start", *(["work"] if starts else []), "stop"]
