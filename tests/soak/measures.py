"""What must not grow with time, and whether it does.

The audit trail must: it keeps each submit and erasure for good, so the ledger is measured without its pages.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.proc import parse_status_kb
from tests.chaos.harness import Harness

from muniflow_cli.stack.processes import session_members

Measures = Mapping[str, float]
WARM_UP = 3
"""Legs that are not judged: caches fill, a ledger gets its pages."""
GROWTH = 0.1
"""Median of the last third of the legs over that of the first third of those that are judged."""
SLACK = {"memory": 8.0, "descriptors": 8.0, "messages": 0.0, "files": 0.0, "ledger": 0.5}
"""So much more is never too much, in the unit of each measure."""
MIB = 1 << 20
AUDIT_PAGES = """
SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = 'audit')
"""


@dataclass(frozen=True)
class Growth:
    """A measure that grew."""

    name: str
    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.name} grew from {self.first:.1f} to {self.last:.1f}"


def measure(harness: Harness) -> Measures:
    """All measures of a stack that is at rest: memory and ledger in MiB, the others are counts."""
    found: dict[str, float] = {}
    for name, service in harness.services.items():
        found |= _of_processes(name, session_members(service.process.pid))
    if harness.node is not None:
        found |= _of_processes("broker", harness.node.pids)
    found["messages"] = float(sum(harness.depths().values()))
    found["files of outputs"] = float(_files(harness.root("output")))
    found["files of intermediates"] = float(_files(harness.root("work")))
    found["ledger"] = ledger_bytes(harness.root("state")) / MIB
    return found


def ledger_bytes(folder: Path) -> int:
    """What the files of a ledger in SQLite take, without the audit trail and its indexes."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        (audit_bytes,) = ledger.execute(AUDIT_PAGES).fetchone()
    return sum(path.stat().st_size for path in folder.iterdir()) - int(audit_bytes)


def growing(legs: Sequence[Measures]) -> list[Growth]:
    """The measures that grow from leg to leg; none where there are too few legs to tell."""
    judged = legs[WARM_UP:]
    third = len(judged) // 3
    if not third:
        return []
    found = []
    for name in judged[0]:
        first, last = (median(leg.get(name, 0.0) for leg in part) for part in (judged[:third], judged[-third:]))
        if last > first * (1 + GROWTH) + SLACK[name.partition(" ")[0]]:
            found.append(Growth(name, first, last))
    return found


def _of_processes(name: str, pids: Sequence[int]) -> dict[str, float]:
    memory = descriptors = 0.0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            memory += _resident_mib(pid)
            descriptors += len(list(Path("/proc", str(pid), "fd").iterdir()))
    return {f"memory of {name}": memory, f"descriptors of {name}": descriptors}


def _resident_mib(pid: int) -> float:
    return parse_status_kb(Path("/proc", str(pid), "smaps_rollup").read_text(), "Pss") / 1024


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
