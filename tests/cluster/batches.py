"""Batches for the bench: tiny pictures and long naps, sent over AMQP, judged by their report and their outputs."""

import json
import shutil
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from tests.cluster.bench import STAGES, Bench
from tests.cluster.supplies import Supplies
from tests.deploy.chart import RELEASE
from tests.support.waiting import eventually

from muniflow.errors import NotFound, Unavailable
from muniflow.model.api import SCALING, BatchStatus, batch_path
from muniflow.model.messages import TERMINAL
from muniflow.model.topology import BATCHES
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.types import OutgoingMessage

COORDINATOR = f"{RELEASE}-coordinator-"
WIDTH_PX, HEIGHT_PX = 16, 8
DECLARED_S = 60.0


@dataclass(frozen=True)
class Batch:
    """Sent with `send`, judged with `judge`."""

    supplies: Supplies
    name: str
    images: int
    naps_s: Mapping[str, float]
    """Of one task of each stage; a stage that is not named is not on its route."""

    @property
    def outputs(self) -> int:
        """Of each image: `cut` makes two of it."""
        return 2 if "cut" in self.naps_s else 1

    @property
    def work_s(self) -> float:
        """Seconds of naps in all."""
        naps = self.naps_s
        return self.images * (naps.get("shrink", 0) + naps.get("cut", 0) + self.outputs * naps.get("soften", 0))

    @property
    def spent_s(self) -> float:
        """Seconds that its tasks took: more than their naps on a busy machine."""
        status = self.status()
        assert status is not None
        return sum(step.compute_s for step in status.steps)

    def send(self) -> None:
        """Make the pictures, publish the batch with a confirm."""
        folder = self.supplies.store / "source" / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        picture = imagecodecs.png_encode(np.full((HEIGHT_PX, WIDTH_PX, 3), 99, np.uint8))
        for number in range(self.images):
            (folder / f"{number:06}.png").write_bytes(picture)
        document = {
            "batch_id": self.name, "source": self.name, "output": "png",
            "operations": [[stage, self.naps_s[stage]] for stage in STAGES if stage in self.naps_s],
        }  # fmt: skip
        message = OutgoingMessage(BATCHES, json.dumps(document).encode())
        eventually(lambda: self._published(message), DECLARED_S, "the coordinator's queue", every_s=0.5)

    def _published(self, message: OutgoingMessage) -> bool:
        """Whether the broker took it: a coordinator that starts has not declared its queue yet.

        A busy broker may cut the connection after that: the batch is sent again then, and counts once.
        """
        try:
            with open_channel(BrokerSettings(amqp_url=self.supplies.broker.amqp_url)) as channel:
                republish(channel, message)
        except (NotFound, Unavailable):
            return False
        return True

    def status(self) -> BatchStatus | None:
        """As the coordinator says it; `None` while it does not."""
        answer = ask(self.supplies.bench, batch_path(self.name))
        return None if answer is None else BatchStatus.model_validate(answer)

    @property
    def done(self) -> int:
        status = self.status()
        return 0 if status is None else status.done

    @property
    def ended(self) -> bool:
        status = self.status()
        return status is not None and status.state in TERMINAL

    @property
    def report(self) -> dict[str, Any]:
        """As written at its end."""
        found: dict[str, Any] = json.loads((self._output / "report.json").read_text())
        return found

    @property
    def took_s(self) -> float:
        """From its acceptance to its end."""
        return float(self.report["times"]["seconds"])

    def judge(self) -> str:
        """Assert that every image settled exactly once and has its outputs; returns the figures."""
        images = self.report["images"]
        sources = Counter(image["source"] for image in images)
        states = Counter(image["state"] for image in images)
        assert states == {"done": self.images}, states
        assert len(sources) == self.images
        assert set(sources.values()) == {1}
        outputs = sum(1 for _ in self._output.rglob("*.png"))
        assert outputs == self.outputs * self.images
        return f"{self.images} images done, 0 lost, 0 doubled, {outputs} outputs"

    @property
    def _output(self) -> Path:
        return self.supplies.store / "output" / self.name


def ask_all(bench: Bench, path: str) -> list[Any]:
    """What each coordinator answers; those that do not are left out."""
    found = []
    for pod in bench.kubelet.named(COORDINATOR):
        url = f"http://{pod.address}:9100{path}"
        with suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(url, timeout=3) as answer:
            found.append(json.load(answer))
    return found


def ask(bench: Bench, path: str) -> Any:
    """What a coordinator answers; `None` when nobody does."""
    return next(iter(ask_all(bench, path)), None)


def wanted(bench: Bench, stages: Sequence[str] = STAGES) -> dict[str, float]:
    """Replicas that the coordinator wants."""
    answers = {stage: ask(bench, f"{SCALING}/{stage}") for stage in stages}
    return {stage: answer["wanted"] for stage, answer in answers.items() if answer}
