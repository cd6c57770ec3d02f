"""A simulated store: it may be away, and it may lose what was not synced."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from tests.simulation.pipeline.simulation import Simulation

from muniflow.errors import MuniflowError, NotFound, Unavailable
from muniflow.store.places import Location
from muniflow.store.types import Blob, OnOther, ignored

AWAY = "blob store"


class SimStore:
    """A `Store` in memory, as all processes see it."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.sim = sim
        self.name = name
        self.blobs: dict[str, bytes] = {}
        self.synced: dict[str, bytes] = {}
        """What a power failure leaves."""
        self.away: str | None = None
        self.on_change: Callable[[str], None] = lambda _key: None

    def location(self) -> Location:
        return Location(self.name, ())

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> memoryview:
        self._ask("read")
        if key not in self.blobs:
            raise NotFound(f"{key} is not in the store")
        end = None if length_bytes is None else offset_bytes + length_bytes
        return memoryview(self.blobs[key])[offset_bytes:end]

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.read(key))

    def write(self, key: str, data: bytes | memoryview | Iterable[bytes], *, durable: bool = False) -> int:
        self._ask("write")
        body = bytes(data) if isinstance(data, bytes | memoryview) else b"".join(data)
        self._ask("rename")
        self.blobs[key] = body
        if durable:
            self.synced[key] = body
        self.on_change(key)
        self._ask("renamed")
        return len(body)

    def create(self, key: str, data: bytes) -> bool:
        if key in self.blobs:
            return False
        self.write(key, data, durable=True)
        return True

    def write_many(self, blobs: Sequence[tuple[str, memoryview]]) -> Sequence[MuniflowError | None]:
        problems: list[MuniflowError | None] = []
        for key, data in blobs:
            try:
                self.write(key, data)
                problems.append(None)
            except MuniflowError as error:
                problems.append(error)
        return problems

    def sync(self, keys: Sequence[str], *, whole_volume: bool = False) -> None:
        self._ask("sync")
        for key in keys:
            if key not in self.blobs:
                raise NotFound(f"{key} is not in the store")
        for key in self.blobs if whole_volume else keys:
            self.synced[key] = self.blobs[key]

    def size(self, key: str) -> int | None:
        self._ask("size")
        return len(self.blobs[key]) if key in self.blobs else None

    def version(self, key: str) -> str | None:
        self._ask("size")
        return f"{len(self.blobs[key])}-0" if key in self.blobs else None

    def list(self, prefix: str = "", on_other: OnOther = ignored) -> Iterator[Blob]:  # noqa: ARG002
        self._ask("list")
        for key in sorted(self.blobs):
            if key.startswith(prefix) and not key.startswith("."):
                yield Blob(key, len(self.blobs[key]), f"{len(self.blobs[key])}-0")

    def delete(self, key: str) -> None:
        self._ask("delete")
        self.blobs.pop(key, None)
        self.synced.pop(key, None)
        self.on_change(key)

    def delete_prefix(self, prefix: str) -> None:
        self._ask("delete")
        for key in [key for key in self.blobs if key.startswith(prefix)]:
            self.delete(key)

    def check(self) -> None:
        self._ask("check")

    def remove_unfinished(self, prefix: str, before_s: float, stopped: Callable[[], bool]) -> int:  # noqa: ARG002
        self._ask("list")
        return 0

    def lose_power(self) -> int:
        """Lose some of what was not synced; returns how many blobs are gone or old again."""
        lost = 0
        for key in [key for key, body in self.blobs.items() if self.synced.get(key) != body]:
            if self.sim.dice.random() < 0.5:
                lost += 1
                if key in self.synced:
                    self.blobs[key] = self.synced[key]
                else:
                    del self.blobs[key]
                self.on_change(key)
        self.synced |= self.blobs  # it was on the disk, and is known to be
        return lost

    def _ask(self, what: str) -> None:
        self.sim.reach(f"store.{what}")
        if self.away is not None:
            raise Unavailable(AWAY, f"{self.name}: {self.away}")
