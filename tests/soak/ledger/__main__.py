"""A ledger of 50 million images: `python -m tests.soak.ledger --images 50000000 --folder F`.

Fills it, asks it through a real coordinator and gateway, lets what was kept long enough be erased meanwhile, then has
the other batches of those days archived. The folder is kept: the same command goes on with what it holds. The last line
says it all.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tests.chaos.harness import Harness
from tests.soak.ledger.fill import DAY_S, OLDEST_DAYS, OWNERS, Ended, batches_of, fill
from tests.soak.ledger.questions import Answer, Asker
from tests.soak.ledger.reports import write_reports

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker

IMAGES = 50_000_000
EXPIRED_DAYS = 4.0
"""Batches that ended in the first so many days are erased, those of one owner; the others of these are archived."""
ERASED_S = ARCHIVED_S = 1800.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.ledger", description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--folder", type=Path, required=True, help="kept; the same one goes on")
    parser.add_argument("--database-url", default="", help="of an empty PostgreSQL; else a SQLite file in the folder")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    folder = given.folder.resolve()
    (folder / "state").mkdir(parents=True, exist_ok=True)
    url = given.database_url or f"sqlite:///{folder}/state/ledger.sqlite"
    wanted = batches_of(given.images, time.time())
    for inserted in fill(url, wanted):
        print(f"inserted {inserted}", flush=True)
    with PrivateBroker(folder / "rabbitmq") as node:
        harness_of = partial(Harness, folder, BrokerSettings(amqp_url=node.amqp_url), node, database_url=url)
        answers = [*ask(harness_of, wanted), *ask_archived(harness_of, wanted)]
    late = sum(each.late for each in answers)
    size = sum(path.stat().st_size for path in (folder / "state").iterdir()) / 1e9
    images = sum(each.images for each in wanted)
    print(f"ledger: images {images}, batches {len(wanted)}, {size:.1f} GB, questions {len(answers)}, late {late}")
    return 1 if late else 0


def ask(harness_of: Callable[..., Harness], wanted: list[Ended]) -> list[Answer]:
    """Ask at rest, and again while batches are erased."""
    answers = []
    with running(harness_of(workers={}, goes_on=True), wanted) as asker:
        answers += _said([asker.start(), *asker.ask()])
    keep = {"MUNIFLOW_OWNER_KEEP_DAYS": json.dumps({OWNERS[0]: OLDEST_DAYS - EXPIRED_DAYS})}
    with running(harness_of(workers={}, goes_on=True, variables=keep), wanted) as asker:
        answers += _said(asker.ask(), "while batches are erased: ")
        began_s, expired = time.monotonic(), _expired(wanted)
        asker.harness.until(lambda: all(asker.harness.gone(each.id) for each in expired), "the erasure", ERASED_S)
        images = sum(each.images for each in expired)
        print(f"erased: batches {len(expired)}, images {images}, {time.monotonic() - began_s:.0f} s more", flush=True)
    return answers


def ask_archived(harness_of: Callable[..., Harness], wanted: list[Ended]) -> list[Answer]:
    """Have batches archived, and ask for the largest of them."""
    old = [each for each in _old(wanted) if each.owner != OWNERS[0]]
    variables = {"MUNIFLOW_ARCHIVE_AFTER_DAYS": str(OLDEST_DAYS - EXPIRED_DAYS)}
    harness = harness_of(workers={}, goes_on=True, variables=variables)
    write_reports(harness.database_url, harness.root("output"), old)
    with running(harness, wanted) as asker:
        began_s = time.monotonic()
        harness.until(lambda: all(map(asker.is_archived, reversed(old))), "the archive", ARCHIVED_S)
        images = sum(each.images for each in old)
        print(f"archived: batches {len(old)}, images {images}, {time.monotonic() - began_s:.0f} s", flush=True)
        largest = max((each for each in old if each.owner == wanted[-1].owner), key=lambda each: each.images)
        return _said(asker.ask_archived(largest))


@contextmanager
def running(harness: Harness, wanted: list[Ended]) -> Iterator[Asker]:
    """Coordinator and gateway."""
    asker = Asker(harness, wanted)
    with harness, closing(asker):
        harness.until_ready()
        yield asker


def _old(wanted: list[Ended]) -> list[Ended]:
    before = wanted[-1].ended_at - (OLDEST_DAYS - EXPIRED_DAYS) * DAY_S
    return [each for each in wanted if each.ended_at <= before]


def _expired(wanted: list[Ended]) -> list[Ended]:
    return [each for each in _old(wanted) if each.owner == OWNERS[0]]


def _said(answers: list[Answer], when: str = "") -> list[Answer]:
    for each in answers:
        print(f"{when}{each}", flush=True)
    return answers


if __name__ == "__main__":
    sys.exit(main())
