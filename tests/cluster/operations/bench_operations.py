"""Operations that sleep in place of computing, so two cores carry thirty workers: `["shrink", 0.2]` takes 0.2 s."""

from typing import Self

from muniflow.model.operation import Operation, Params, Size


class Nap(Params):
    """One image in, the same one out, a while later."""

    seconds: float

    @classmethod
    def from_short(cls, value: object) -> Self:
        return cls.model_validate({"seconds": value})

    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (source,)


class NapAndCut(Nap):
    """Two halves of it, side by side."""

    def sizes(self, source: Size) -> tuple[Size, ...]:
        left = source.width_px // 2
        return (Size(left, source.height_px), Size(source.width_px - left, source.height_px))

    @property
    def fan_out(self) -> int:
        return 2


SHRINK = Operation("shrink", Nap, "Sleep.", (["shrink", 0.2],))
CUT = Operation("cut", NapAndCut, "Sleep, then cut into two.", (["cut", 0.2],))
SOFTEN = Operation("soften", Nap, "Sleep.", (["soften", 0.2],))
