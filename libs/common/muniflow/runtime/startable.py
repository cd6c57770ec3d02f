"""`with` for what is started and stopped."""

from abc import ABC, abstractmethod
from typing import Self


class Startable(ABC):
    """Runs between `start` and `stop`; a `with` statement calls both."""

    @abstractmethod
    def start(self) -> None:
        """Start it."""

    @abstractmethod
    def stop(self) -> None:
        """End it; also when it was started in part, or not at all."""

    def __enter__(self) -> Self:
        """Start it; what an error leaves of it is stopped."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()
