"""Processes, seen through /proc: CPU seconds and resident memory of a process and everything below it.

Wall-clock rates on a shared machine drift; CPU seconds drift much less, so both are reported.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Stat:
    """What /proc/<pid>/stat says that is of use here."""

    pid: int
    parent: int
    cpu_s: float
    """User and system time, with that of its children that have ended."""
    started_ticks: int
    """Since boot; with the pid it names a process for ever."""


def parse_stat(text: str) -> Stat:
    """Read the one line of /proc/<pid>/stat; a command's name may hold spaces and brackets."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    spent_s = sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S
    return Stat(int(head.split(" ", 1)[0]), int(fields[1]), spent_s, int(fields[19]))


def parse_status_kb(text: str, field: str) -> int:
    """A `kB` line of /proc/<pid>/status or smaps_rollup, such as `VmHWM`; 0 when it is not there."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0])
    return 0


def descendants(stats: Iterable[Stat], roots: Iterable[int]) -> list[Stat]:
    """The processes of `roots` and everything below them, each once."""
    by_pid, below = {}, defaultdict(list)
    for stat in stats:
        by_pid[stat.pid] = stat
        below[stat.parent].append(stat.pid)
    found: dict[int, Stat] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in by_pid and pid not in found:
            found[pid] = by_pid[pid]
            waiting += below[pid]
    return list(found.values())


def all_stats() -> list[Stat]:
    """Every process of this machine that can be seen."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append(parse_stat((entry / "stat").read_text()))
            except (OSError, ValueError):
                continue  # it ended meanwhile
    return found


def tree(roots: Iterable[int]) -> list[Stat]:
    """`roots` and everything below them, now."""
    return descendants(all_stats(), roots)


def cpu_s(roots: Iterable[int]) -> float:
    """CPU seconds of whole trees, so far."""
    return sum(stat.cpu_s for stat in tree(roots))


def rss_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of one process in MB (2**20 bytes); `VmHWM` is its peak. 0 when it has ended."""
    try:
        return parse_status_kb(Path(f"/proc/{pid}/status").read_text(), field) / 1024
    except OSError:
        return 0.0
