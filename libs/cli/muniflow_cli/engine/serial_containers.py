"""Each step of each image as a container (or, without an engine, as a process): JSON on stdin, JSON on stdout."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from muniflow.compute.outcome import Outcome, failed_whole
from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch
from muniflow.model.messages import Settled, Task
from muniflow.model.settlement import Done, Fail, Retry
from muniflow.model.share import Share
from muniflow.runtime.settings import StoreSettings, to_env
from muniflow.store.listing import ImageRef
from muniflow.store.open import open_stores
from muniflow_cli.engine.account import BatchResult, ImageResult, open_account
from muniflow_cli.engine.local import run_one_by_one

DONE, FAILED, TRANSIENT = 0, 1, 75
Command = Callable[[str], Sequence[str]]
"""From the name of an operation to the command that runs one of its tasks."""
_IN_CONTAINER = {"source_url": "/data/source", "work_url": "/data/work", "output_url": "/data/output"}


def container_engine() -> str | None:
    """The container engine that answers here, or `None`."""
    for name in ("docker", "podman"):
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True, check=False).returncode:
            return name
    return None


def process_command(operation: str) -> Sequence[str]:
    """The step as a process of this Python."""
    return (sys.executable, "-m", f"muniflow_{operation}", "once")


def container_command(engine: str, image_of: Callable[[str], str], stores: StoreSettings) -> Command:
    """Steps as containers that see the three stores' folders, and no network.

    Raises:
        Invalid: a store is no local folder, so it cannot be mounted.
    """
    mounts: list[str] = []
    for name, inside in _IN_CONTAINER.items():
        url: str = getattr(stores, name)
        scheme, separator, rest = url.partition("://")
        if separator and scheme != "file":
            raise Invalid((Fault(name, f"{url}: containers of the local engine need a local folder"),))
        folder = Path(rest if separator else url).absolute()
        if name != "source_url":
            folder.mkdir(parents=True, exist_ok=True)
        mounts += ["-v", f"{folder}:{inside}{':ro' if name == 'source_url' else ''}"]
        mounts += ["-e", f"MUNIFLOW_{name.upper()}=file://{inside}"]
    head = (engine, "run", "-i", "--rm", "--network", "none", "-u", f"{os.getuid()}:{os.getgid()}", *mounts)
    return lambda operation: (*head, image_of(operation), "once")


def run_in_containers(
    batch: Batch,
    stores: StoreSettings,
    command: Command,
    *,
    share: Share | None = None,
    on_start: Callable[[Sequence[ImageRef]], None] = lambda _refs: None,
    on_image: Callable[[ImageResult], None] = lambda _result: None,
) -> BatchResult:
    """Run a batch, or a share of it, one container after the other, and write its report.

    Args:
        batch: a checked batch.
        stores: the three roots.
        command: `process_command`, or what `container_command` returned.
        share: run only this share of it, with a report of its own; `None` runs all.
        on_start: told the images before the first is run.
        on_image: told each image as it is settled.

    Raises:
        Invalid: the images of the batch cannot be used.
        Unavailable: the source cannot be listed or the report cannot be written.
    """
    source, work, output = open_stores(stores.source_url, stores.work_url, stores.output_url)
    account = open_account(batch, source, output, share, on_image)
    on_start(account.to_run)
    env = {**os.environ, **to_env(stores)}
    run_one_by_one(account, work, lambda task: run_task(task, command(task.op), env))
    return account.finish(output, durable=stores.durable_outputs)


def run_task(task: Task, command: Sequence[str], env: Mapping[str, str]) -> Outcome:
    """Run one task as a process; whatever it does, its end is an outcome."""
    done = subprocess.run(command, input=task.to_bytes(), capture_output=True, env=env, check=False)
    problem = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
    if done.returncode == TRANSIENT:
        return failed_whole(task, Retry(0, problem))
    if done.returncode not in {DONE, FAILED}:
        return failed_whole(task, Fail(f"{' '.join(command[:2])}: {problem.splitlines()[-1]}"))
    try:
        document = json.loads(done.stdout)
        follow = tuple(Task.model_validate_json(json.dumps(item)) for item in document["follow"])
        settled = tuple(Settled.model_validate_json(json.dumps(item)) for item in document["settled"])
        outputs = tuple(document["outputs"])
    except (ValueError, KeyError, TypeError, ValidationError):
        return failed_whole(task, Fail(f"{' '.join(command[:2])}: {problem.splitlines()[-1]}"))
    disposition = Done() if done.returncode == DONE else Fail(problem)
    return Outcome(disposition, follow, settled, outputs=outputs)
