"""The routes that are measured, as users write them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchRoute:
    """A route and what it makes of one image."""

    name: str
    operations: tuple[tuple[str, str | bool], ...]
    outputs_per_image: int

    @property
    def text(self) -> str:
        """`resize 50% → split → blur gaussian`."""
        return " → ".join(op if value is True else f"{op} {value}" for op, value in self.operations)

    @property
    def names(self) -> tuple[str, ...]:
        """The operations in it, each once, in order of their first use."""
        return tuple(dict.fromkeys(op for op, _ in self.operations))

    def document(self) -> list[list[str | bool]]:
        """The `operations` of a batch."""
        return [list(entry) for entry in self.operations]


ROUTES: Mapping[str, BenchRoute] = {
    route.name: route
    for route in (
        BenchRoute("resize-split-blur", (("resize", "50%"), ("split", True), ("blur", "gaussian")), 4),
        BenchRoute("split-blur", (("split", True), ("blur", "gaussian")), 4),
        BenchRoute("blur", (("blur", "gaussian"),), 1),
        BenchRoute(
            "five-steps",
            (("resize", "50%"), ("split", True), ("blur", "median"), ("split", True), ("blur", "gaussian")),
            16,
        ),
    )
}
