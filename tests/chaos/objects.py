"""A storm over an S3 server that fails in every way such servers do: `python -m tests.chaos.objects --kills 300`.

The last line says it all. Faults come in rounds, each on a stack of its own; with `--out FILE` a run that was broken
off goes on. Beside the faults of a round (kills, and whole outages of the store) requests meet faults of their own.
"""

import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from obstore.store import S3Store
from tests.chaos.faulty_s3 import OUTAGES, Fault, FaultyS3, faulty_s3
from tests.chaos.harness import Harness, document
from tests.chaos.pictures import write_pictures
from tests.chaos.rounds import conduct, parse_rounds, rage, shares
from tests.chaos.storm import VARIABLES, Target, strike
from tests.chaos.truth import GuaranteeReport
from tests.support.moto_server import MotoServer, moto_server

from muniflow.runtime.settings import BrokerSettings
from muniflow.store.objects import ObjectStore
from muniflow_cli.stack.broker import PrivateBroker

Kind = Target | Fault
ROOTS = ("source", "work", "output")
OUTAGE_S = 3.0
"""Longer than the store's client tries again by itself."""
FRESH = 120
"""Images that are written just before their batch is sent: lists do not show them yet, and they are many enough that
the coordinator looks for them in a list."""
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@dataclass(frozen=True)
class Round:
    """The faults of one stack."""

    number: int
    images: int
    kinds: tuple[Kind, ...]
    fresh: int = FRESH
    """Images of a batch that is sent as soon as they are written."""

    @property
    def seed(self) -> str:
        return f"objects-{self.number}"


def round_of(seed: int, number: int, faults: int, images: int) -> Round:
    """Round `number` of a seed: about half of its faults are kills."""
    own = 1000 * seed + number
    dice = random.Random(f"{own} what")
    kills, weights = get_args(Target), (8, 3, 3, 5, 1)
    kinds: list[Kind] = [
        dice.choices(kills, weights)[0] if dice.random() < 0.5 else dice.choice(OUTAGES) for _ in range(faults)
    ]
    return Round(own, images, tuple(kinds))


@dataclass
class ObjectHarness(Harness):
    """A stack whose blobs are in buckets; this side reads and writes them without the proxy."""

    buckets: dict[str, ObjectStore] = field(default_factory=dict)

    def intermediates(self) -> list[Path]:
        return [Path(blob.key) for blob in self.buckets["work"].list()]

    def until_clean(self) -> None:
        """What a late copy of a task leaves goes an hour after the end of its batch, or when a coordinator starts."""
        self.until(lambda: not self.held_messages(), "empty queues")
        coordinator = self.services["coordinator"]
        lives = coordinator.lives
        coordinator.process.terminate()
        self.until(lambda: coordinator.lives > lives and coordinator.ready, "the coordinator again")
        super().until_clean()

    def guarantees(self, *batches: str) -> GuaranteeReport:
        output = self.root("output")
        shutil.rmtree(output)
        for blob in self.buckets["output"].list():
            path = output / blob.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.buckets["output"].read(blob.key))
        return super().guarantees(*batches)


@dataclass
class ObjectStack:
    """The stack and its store."""

    harness: ObjectHarness
    proxy: FaultyS3

    def cut(self, kind: Kind, dice: random.Random) -> None:
        """One fault: of the store for a while, or a kill."""
        if kind in get_args(Target):
            self.harness.until(lambda: strike(self.harness, kind, dice), "something to kill")  # type: ignore[arg-type]
            return
        end_s = time.monotonic() + OUTAGE_S
        self.proxy.outage = kind  # type: ignore[assignment]
        self.harness.until(lambda: time.monotonic() > end_s, "the end of an outage")
        self.proxy.outage = None

    def put(self, names: Sequence[str], folder: str = "") -> list[str]:
        """Write source images into their bucket, as if through the proxy; returns their keys."""
        for name in names:
            data = (self.harness.root("source") / name).read_bytes()
            path = self.harness.root("source") / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.harness.buckets["source"].write(f"{folder}{name}", data)
            self.proxy.listings.wrote("source", f"{folder}{name}", len(data))
        return [f"{folder}{name}" for name in names]


@contextmanager
def object_stack(
    folder: Path, broker: BrokerSettings, node: PrivateBroker | None, variables: dict[str, str] | None = None
) -> Iterator[ObjectStack]:
    """A stack that runs, over a store that works yet."""
    with s3_server() as server, faulty_s3(server.address) as proxy:
        urls: dict[str, str] = {f"MUNIFLOW_{name.upper()}_URL": f"s3://{name}" for name in ROOTS}
        own = {**VARIABLES, **urls, **CREDENTIALS, "AWS_ENDPOINT_URL": proxy.url, **(variables or {})}
        buckets = {name: bucket_of(server, name) for name in ROOTS}
        with ObjectHarness(folder, broker, node, variables=own, buckets=buckets) as harness:
            harness.until_ready()
            yield ObjectStack(harness, proxy)


@contextmanager
def s3_server() -> Iterator[MotoServer]:
    """An S3 server with nothing in it."""
    with moto_server() as server:
        server.empty()
        yield server


def bucket_of(server: MotoServer, name: str) -> ObjectStore:
    """A new bucket, without the proxy."""
    server.make_bucket(name)
    return store_at(server.url, name)


def store_at(endpoint: str, name: str, **more: Any) -> ObjectStore:
    """A bucket, by a client with these options."""
    options: dict[str, Any] = {"access_key_id": "test", "secret_access_key": "test", **more}
    backend = S3Store(name, endpoint=endpoint, region="us-east-1", client_options={"allow_http": True}, **options)
    return ObjectStore(backend, f"s3://{name}")


def run_round(given: Round, stack: ObjectStack) -> GuaranteeReport:
    """One round."""
    harness = stack.harness
    names = write_pictures(harness.root("source"), given.images)
    images = stack.put(names)
    stack.proxy.seed = given.number
    if given.fresh:
        fresh = stack.put(names[: given.fresh], "fresh/")
        harness.submit({**document(f"fresh-{given.number}", fresh), "destination": f"fresh/{given.number}"})
    found = rage(stack, given, images)
    assert found.clean, f"{found}\n{harness.tails(4000)}"
    harness.until_clean()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rounds."""
    given = parse_rounds("python -m tests.chaos.objects", __doc__, arguments)
    rounds = [round_of(given.seed, *share) for share in shares(given.kills, given.images)]
    return conduct("objects", "requests struck", rounds, _run, given)


def _run(each: Round, folder: Path) -> tuple[GuaranteeReport, int]:
    with (
        PrivateBroker(folder / "rabbitmq") as node,
        object_stack(folder, BrokerSettings(amqp_url=node.amqp_url), node) as stack,
    ):
        found = run_round(each, stack)
        print(f"{each.seed}: {dict(stack.proxy.met)}", flush=True)
        return found, stack.proxy.met.total()


if __name__ == "__main__":
    sys.exit(main())
