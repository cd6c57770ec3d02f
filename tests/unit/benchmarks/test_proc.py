"""Reading /proc: names with spaces and brackets, trees, processes that are gone."""

import os
import subprocess
import sys

from benchmarks import proc
from benchmarks.proc import Stat, descendants, parse_stat, parse_status_kb

LINE = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 100 50 25 25 20 0 1 0 98765 1 2 3"


def test_a_stat_line_with_a_name_full_of_brackets():
    assert parse_stat(LINE) == Stat(42, 7, 200 / proc.TICKS_PER_S, 98765)


def test_descendants_are_found_at_any_depth_and_once():
    stats = [Stat(1, 0, 0, 0), Stat(2, 1, 0, 0), Stat(3, 2, 0, 0), Stat(4, 0, 0, 0)]
    assert sorted(stat.pid for stat in descendants(stats, [1, 2])) == [1, 2, 3]


def test_a_field_of_status():
    text = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t1024 kB\n"
    assert [parse_status_kb(text, field) for field in ("VmHWM", "VmRSS", "VmNone")] == [2048, 1024, 0]


def test_the_cpu_time_of_a_child_that_has_ended_is_counted():
    before = proc.cpu_s([os.getpid()])
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(3_000_000))"], check=True)
    assert proc.cpu_s([os.getpid()]) > before


def test_a_process_that_is_gone_has_no_memory():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert proc.rss_mb(ended.pid) == 0.0
