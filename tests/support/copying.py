"""A made-up operation for tests that need no pixels."""

from muniflow.model.operation import Params, Size


class CopyParams(Params):
    """Parameters of an operation with any fan-out."""

    of: int = 1

    @classmethod
    def from_short(cls, value: object) -> "CopyParams":
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("write a number of copies")  # noqa: TRY004 - pydantic turns only these into faults
        return cls(of=value)

    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (source,) * self.of

    @property
    def fan_out(self) -> int:
        return self.of
