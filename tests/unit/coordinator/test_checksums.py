"""From the events of workers, through the database and a crash, to the report."""

from muniflow.model.lineage import leaf_index
from muniflow.model.messages import Events, Settled, Task
from muniflow.model.report_check import ReportReader

SOURCE = "5" * 64


def digest(image: int, leaf: int) -> str:
    return f"{image:032x}{leaf:032x}"


def summed(task: Task) -> list[Events]:
    """A worker for each part, the last one first; image 2 has met one of an earlier build."""
    events = []
    for child in reversed(range(3)):
        known = task.checksums and not (task.image == 2 and child == 1)
        event = Settled(
            batch=task.batch,
            image=task.image,
            run=task.run,
            lineage=((child, 3),),
            source_sha256=SOURCE if known else None,
            outputs_sha256=(digest(task.image, leaf_index(((child, 3),))),) if known else None,
        )
        events.append(Events(settled=(event,)))
    return events


def entries(harness):
    problems: list[str] = []
    with harness.stores.output.open("b/report.json") as report:
        found = list(ReportReader(problems.append).entries([report.read()]))
    assert problems == []
    return found


def test_digests_of_all_parts_reach_the_report_in_split_order(harness):
    harness.pictures(3)
    harness.answer = summed
    harness.start()
    harness.submit(operations=[["copy", 3]], checksums=True)
    harness.until(harness.ended)
    assert harness.report()["checksums"] == "sha256"
    whole = [digest(0, leaf) for leaf in range(3)]
    assert [entry.outputs_sha256 for entry in entries(harness)] == [whole, [digest(1, n) for n in range(3)], []]
    assert [entry.source_sha256 for entry in entries(harness)] == [SOURCE, SOURCE, None]


def test_a_crash_between_parts_loses_no_digest(harness):
    harness.pictures(1)
    harness.answer = lambda task: summed(task)[:2]
    harness.start()
    harness.submit(operations=[["copy", 3]], checksums=True)
    harness.until(lambda: harness.state.leaves(1) and len(harness.state.leaves(1)) == 2)
    harness.crash()
    harness.answer = lambda task: summed(task)[2:]
    harness.start()
    harness.until(harness.ended)
    assert entries(harness)[0].outputs_sha256 == [digest(0, leaf) for leaf in range(3)]


def test_a_batch_that_wants_none_has_tasks_and_a_report_without(harness):
    harness.pictures(1)
    harness.answer = summed
    harness.start()
    harness.submit(operations=[["copy", 3]])
    harness.until(harness.ended)
    assert "checksums" not in harness.report()
    named = ["image", "source", "state", "outputs", "reasons", "reason_code", "source_version"]
    assert list(harness.report()["images"][0]) == named
    assert [task.checksums for task in harness.tasks] == [None]
