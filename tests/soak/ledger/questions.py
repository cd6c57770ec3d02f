"""What people ask of a large ledger, each with how long it may take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from tests.chaos.harness import Harness
from tests.chaos.service import Service
from tests.soak.ledger.fill import CITIES, Ended

from muniflow.model.api import AUDIT_TRAIL, BATCHES
from muniflow.model.api_failures import FAILURE_COUNTS, FAILURES
from muniflow_cli.stack.ports import free_ports
from muniflow_gateway.auth.api_keys import make_key

TRIES = 5
SOON_S, PAGE_S, COUNT_S = 0.5, 1.0, 5.0
"""Bounds: one row or a short page; a page of thousands; a count over all that has failed."""
START_S = 20.0
"""From the start of a coordinator until it is ready."""
TIMEOUT_S = 120.0
Query = dict[str, str | int]
Question = tuple[str, float, str, Query]
"""Its name, how long it may take, and what is asked."""


@dataclass(frozen=True)
class Answer:
    """How long a question takes."""

    name: str
    bound_s: float
    median_s: float
    slowest_s: float

    @property
    def late(self) -> bool:
        """By its median: the machine may be busy."""
        return self.median_s > self.bound_s

    def __str__(self) -> str:
        late = ", too late" if self.late else ""
        return (
            f"{self.name}: median {self.median_s:.3f} s, slowest {self.slowest_s:.3f} s, bound {self.bound_s:.1f}{late}"
        )


@dataclass
class Asker:
    """Asks a coordinator, and a gateway before it."""

    harness: Harness
    wanted: list[Ended]

    def __post_init__(self) -> None:
        port, http = free_ports(2)
        keys = self.harness.folder / "api-keys"
        self.gateway = f"http://127.0.0.1:{http}"
        keys.unlink(missing_ok=True)
        key = make_key(keys, "asker", {"owner": self.wanted[-1].owner})
        self._client = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S)
        variables = self.harness.environment() | {
            "MUNIFLOW_GATEWAY_BIND": f"127.0.0.1:{http}",
            "MUNIFLOW_COORDINATOR_URL": f"http://127.0.0.1:{self.harness.coordinator.port}",
            "MUNIFLOW_API_KEYS_FILE": str(keys),
        }
        log = self.harness.folder / "logs" / "gateway.log"
        self.harness.services["gateway"] = Service("gateway", "muniflow_gateway", variables, log, port)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def coordinator(self) -> str:
        return f"http://127.0.0.1:{self.harness.coordinator.port}"

    def start(self) -> Answer:
        """Start the coordinator, several times."""

        def start() -> None:
            self.harness.coordinator.kill()
            self.harness.coordinator.start()
            self.harness.until_ready("coordinator")

        return timed("start of the coordinator", START_S, start, tries=2)

    def ask(self) -> list[Answer]:
        """Ask everything."""
        newest = self.wanted[-1]
        largest = max((each for each in self.wanted if each.owner == newest.owner), key=lambda each: each.images)
        page: Query = {"limit": 100}
        through_gateway: list[Question] = [
            ("the newest batch, gateway", SOON_S, f"{BATCHES}/{newest.id}", {}),
            ("the largest batch, gateway", SOON_S, f"{BATCHES}/{largest.id}", {}),
            ("the list, gateway", SOON_S, BATCHES, page),
            ("images of the largest batch, gateway", SOON_S, f"{BATCHES}/{largest.id}/images", page),
            (
                "its last images, gateway",
                SOON_S,
                f"{BATCHES}/{largest.id}/images",
                {**page, "after": largest.images - 101},
            ),
            ("its failed images, gateway", SOON_S, f"{BATCHES}/{largest.id}/images", {**page, "state": "failed"}),
        ]
        from_coordinator: list[Question] = [
            ("500 batches", PAGE_S, BATCHES, {"limit": 500}),
            ("batches from the middle", SOON_S, BATCHES, {**page, "after": len(self.wanted) // 2}),
            ("batches that run: none", SOON_S, BATCHES, {**page, "state": "running"}),
            ("batches of a city", SOON_S, BATCHES, {**page, "municipality": f"city-{CITIES - 1}"}),
            ("batches of a city without any", SOON_S, BATCHES, {**page, "municipality": "nowhere"}),
            ("5,000 images", PAGE_S, f"{BATCHES}/{largest.id}/images", {"limit": 5000}),
            ("reasons of all batches", COUNT_S, FAILURE_COUNTS, {}),
            ("reasons of an owner", COUNT_S, FAILURE_COUNTS, {"owner": newest.owner}),
            ("reasons of the largest batch", SOON_S, FAILURE_COUNTS, {"batch": largest.id}),
            ("failures", SOON_S, FAILURES, page),
            ("failures of a code", PAGE_S, FAILURES, {**page, "reason_code": "timed_out"}),
            ("failures of a code that is none", COUNT_S, FAILURES, {**page, "reason_code": "too_large"}),
            ("one failure", SOON_S, FAILURES, {"batch": largest.id, "image": 99}),
            ("the audit trail", SOON_S, AUDIT_TRAIL, page),
        ]
        return [
            *(self._asked(self.gateway, each) for each in through_gateway),
            *(self._asked(self.coordinator, each) for each in from_coordinator),
        ]

    def is_archived(self, batch: Ended) -> bool:
        """Whether its report stands for its images."""
        status = self.harness.status(batch.id)
        return status is not None and status.archived_at is not None

    def ask_archived(self, batch: Ended) -> list[Answer]:
        """Ask for a batch that is archived, of the asker's owner."""
        path = f"{BATCHES}/{batch.id}"
        questions: list[Question] = [
            ("an archived batch", SOON_S, path, {}),
            ("its images", SOON_S, f"{path}/images", {"limit": 100}),
            ("its last images", PAGE_S, f"{path}/images", {"limit": 100, "after": max(batch.images - 101, 0)}),
            ("its failed images", PAGE_S, f"{path}/images", {"limit": 100, "state": "failed"}),
            ("its report", COUNT_S, f"{path}/report.ndjson", {}),
        ]
        return [self._asked(self.gateway, each) for each in questions]

    def ask_replay(self, batch: Ended) -> httpx.Response:
        """Ask that its failed images run again."""
        return self._client.post(f"{self.gateway}{BATCHES}/{batch.id}/replay")

    def images(self, batch: Ended) -> list[dict[str, Any]]:
        """The first images of a batch, through the gateway."""
        answer = self._client.get(f"{self.gateway}{BATCHES}/{batch.id}/images").raise_for_status()
        found: list[dict[str, Any]] = answer.json()["images"]
        return found

    def _asked(self, url: str, question: Question) -> Answer:
        name, bound_s, path, query = question

        def ask() -> None:
            self._client.get(f"{url}{path}", params=query).raise_for_status()

        return timed(name, bound_s, ask)


def timed(name: str, bound_s: float, work: Callable[[], object], tries: int = TRIES) -> Answer:
    """Do it several times."""
    times = []
    for _ in range(tries):
        began_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - began_s)
    return Answer(name, bound_s, sorted(times)[tries // 2], max(times))
