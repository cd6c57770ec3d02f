"""Tasks that run together: the same results as one by one, each told of when it goes on, and few inputs in memory."""

from collections import Counter

import pytest
from tests.support.compute_help import context, files, picture, task, write_source

from muniflow.compute.process import READ_TOGETHER_BYTES, TOGETHER, process, process_together
from muniflow.errors import Unavailable
from muniflow.model.settlement import Done, Fail, Retry
from muniflow.store.local import LocalStore

STEPS = ("half", "quarter", "smooth")


class Journal:
    """What happened, in order."""

    def __init__(self):
        self.lines = []

    def begin(self, place, spent_s):
        self.lines.append(("begin", place))
        assert spent_s >= 0


class Watched(LocalStore):
    """A store that writes down what it is asked for; some keys are away, and blobs may seem to be large."""

    def __init__(self, root, journal, away=(), seems_bytes=None):
        super().__init__(root)
        self._journal, self._away, self._seems_bytes = journal, away, seems_bytes

    def read(self, key, *rest):
        self._journal.lines.append(("read", key))
        if key in self._away:
            raise Unavailable("blob store")
        data = super().read(key, *rest)
        return data if self._seems_bytes is None else memoryview(bytes(data).ljust(self._seems_bytes, b"\0"))

    def write_many(self, blobs):
        self._journal.lines += [("write", key) for key, _ in blobs]
        return super().write_many(blobs)


def tasks(root, count):
    for number in range(count):
        write_source(root, f"{number}.jpg", picture(64, 48, seed=number))
    return [task(f"{number}.jpg", *STEPS, image=number) for number in range(count)]


def test_together_is_like_one_by_one(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    for work in tasks(alone, 20):
        process(work, context(alone))
    works = tasks(together, 20)
    done = list(process_together(works, context(together)))
    assert [found.task for found in done] == works
    assert {found.outcome.disposition for found in done} == {Done()}
    assert all(found.span.seconds > 0 and found.span.began_at > 0 for found in done)
    assert files(together / "output") == files(alone / "output")
    assert len(files(together / "output")) == 80


def test_one_that_fails_does_not_touch_the_others(tmp_path):
    works = tasks(tmp_path, 5)
    (tmp_path / "source/1.jpg").write_bytes(b"no picture")
    (tmp_path / "source/3.jpg").unlink()
    source = Watched(tmp_path / "source", Journal(), away=("4.jpg",))
    dispositions = [found.outcome.disposition for found in process_together(works, context(tmp_path, source=source))]
    assert [type(disposition) for disposition in dispositions] == [Done, Fail, Done, Fail, Retry]
    assert [disposition.kind for disposition in dispositions if isinstance(disposition, Fail)] == [
        "rejected",
        "missing",
    ]
    assert {name.split("/")[-1][0] for name in files(tmp_path / "output")} == {"0", "2"}


def test_all_are_read_then_computed_then_written(tmp_path):
    journal = Journal()
    source, output = (Watched(tmp_path / name, journal) for name in ("source", "output"))
    carried = context(tmp_path, source=source, output=output)
    list(process_together(tasks(tmp_path, 3), carried, journal.begin))
    reads = [line for place in range(3) for line in (("begin", place), ("read", f"{place}.jpg"))]
    assert journal.lines[:9] == [*reads, ("begin", 0), ("begin", 1), ("begin", 2)]
    written = [line for line in journal.lines[9:] if line[0] == "begin"]
    assert written == [("begin", 0), ("begin", 1), ("begin", 2)]
    assert Counter(kind for kind, _ in journal.lines) == {"begin": 9, "read": 3, "write": 12}


@pytest.mark.parametrize(
    ("seems_bytes", "together"), [(None, TOGETHER), (READ_TOGETHER_BYTES // 3, 4), (READ_TOGETHER_BYTES, 1)]
)
def test_few_inputs_are_in_memory(tmp_path, seems_bytes, together):
    journal = Journal()
    source = Watched(tmp_path / "source", journal, seems_bytes=seems_bytes)
    works = tasks(tmp_path, TOGETHER + 1)
    processed = process_together(works, context(tmp_path, source=source))
    assert next(processed).outcome.disposition == Done()
    assert len(journal.lines) == together
    assert len(list(processed)) == len(works) - 1


@pytest.mark.parametrize(("stop_s", "done"), [(0.0, 1), (60.0, 5)])
def test_after_its_time_no_further_task_is_computed(tmp_path, stop_s, done):
    for number in range(5):
        write_source(tmp_path, f"{number}.png", picture(30, 20, seed=number))
    works = [task(f"{number}.png", ("nap", {"seconds": 0.05}), image=number) for number in range(5)]
    processed = list(process_together(works, context(tmp_path), stop_s=stop_s))
    assert [found.task for found in processed] == works[:done]
    assert len(files(tmp_path / "output")) == done
