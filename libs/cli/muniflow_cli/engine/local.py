"""The local engine: a whole batch on this machine, without a broker, with the bytes that the broker engine makes.

`jobs=1` runs in this very process, one image after the other: every breakpoint and every traceback is in reach.
`jobs=N` runs the same tasks in N compute children, behind the limits that a worker has.
"""

import os
import time
from collections.abc import Callable, Sequence

from muniflow.compute.outcome import Outcome, failed_whole
from muniflow.compute.spec import ChildSpec
from muniflow.model.batch import Batch
from muniflow.model.keys import work_prefix
from muniflow.model.messages import Task
from muniflow.model.settlement import Fail, Retry
from muniflow.model.share import Share
from muniflow.store.listing import ImageRef
from muniflow.store.open import open_stores
from muniflow.store.types import Store
from muniflow_cli.engine.account import Account, BatchResult, ImageResult, open_account
from muniflow_cli.engine.parallel import run_parallel

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Before each further attempt when a store is away: a person waits here, so it is given up soon."""


def run_batch(
    batch: Batch,
    spec: ChildSpec,
    *,
    jobs: int = 1,
    share: Share | None = None,
    on_start: Callable[[Sequence[ImageRef]], None] = lambda _refs: None,
    on_image: Callable[[ImageResult], None] = lambda _result: None,
    python_path: tuple[str, ...] = (),
) -> BatchResult:
    """Run a batch, or a share of it, to its end and write its report.

    Args:
        batch: a checked batch.
        spec: stores, limits and steps; `operations=None` takes all that are installed.
        jobs: 1 for this process alone, or how many compute children.
        share: run only this share of it, with a report of its own; `None` runs all.
        on_start: told the images before the first is run.
        on_image: told each image as it is settled, in any order.
        python_path: further places where compute children find modules.

    Raises:
        Invalid: the images of the batch cannot be used, or a step is not installed; nothing was run.
        Unavailable: the source cannot be listed or the report cannot be written.
    """
    source, work, output = open_stores(spec.source_url, spec.work_url, spec.output_url)
    account = open_account(batch, source, output, share, on_image)
    on_start(account.to_run)
    if jobs == 1:
        _run_serial(account, spec)
    else:
        run_parallel(account, spec, jobs, PAUSES_S, python_path)
        account.remove_intermediates(work)
    return account.finish(output, durable=spec.durable_outputs)


def _run_serial(account: Account, spec: ChildSpec) -> None:
    from muniflow.compute.durable import make_durable
    from muniflow.compute.process import process
    from muniflow.compute.setup import open_context, preload

    context = open_context(spec, preload(spec), os.environ)

    def execute(task: Task) -> Outcome:
        return make_durable(task, process(task, context), context)

    run_one_by_one(account, context.work, execute)


def run_one_by_one(account: Account, work: Store, execute: Callable[[Task], Outcome]) -> None:
    """Run all tasks of all images in order, depth-first, with `execute`; an image's intermediates go when it ends."""
    for ref in account.to_run:
        waiting = [account.begin(ref)]
        while waiting:
            outcome = execute_patiently(waiting.pop(), execute)
            account.add(outcome.settled)
            waiting += reversed(outcome.follow)
        work.delete_prefix(work_prefix(account.batch.batch_id, ref.n))


def execute_patiently(task: Task, execute: Callable[[Task], Outcome]) -> Outcome:
    """Run a task; again after a pause when a part is away, and failed in the end."""
    for pause_s in PAUSES_S:
        outcome = execute(task)
        if not isinstance(outcome.disposition, Retry):
            return outcome
        time.sleep(pause_s)
    outcome = execute(task)
    if not isinstance(outcome.disposition, Retry):
        return outcome
    return failed_whole(
        task, Fail(f"gave up after {len(PAUSES_S) + 1} attempts: {outcome.disposition.reason}", "part_away")
    )
