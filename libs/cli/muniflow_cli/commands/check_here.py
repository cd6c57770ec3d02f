"""Checks of everything else for `doctor`: stores, coordinator, ledger, limits, steps."""

import os
import resource
import shutil
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from muniflow.errors import MuniflowError
from muniflow.model.operation import Operation
from muniflow.runtime.settings import StoreSettings
from muniflow.store.open import open_store
from muniflow_cli.commands.check_broker import alarm_findings
from muniflow_cli.commands.client import CoordinatorApi
from muniflow_cli.commands.findings import Finding
from muniflow_cli.commands.remedies import Remedies
from muniflow_cli.commands.target import Target

LOW_DISK_BYTES = 2 * 2**30
FEW_FILES = 1024
SQLITE = "sqlite:///"
TIMEOUT_S = 5
INSTALL_THERE = "install muniflow-<op> there, and start the coordinator again"
LOST_LEDGER = "lost or restored from an old copy? docs/guides/operate.md#back-up says how to go on"
LEDGER_ACCESS = "check that it is on a local volume, and its permissions"


def check_stores(stores: StoreSettings) -> list[Finding]:
    """Read the source; write, read and delete in the other two."""
    return [
        _source(stores.source_url),
        *_written("work store", "MUNIFLOW_WORK_URL", stores.work_url),
        *_written("output store", "MUNIFLOW_OUTPUT_URL", stores.output_url),
    ]


def check_coordinator(target: Target, remedies: Remedies) -> list[Finding]:
    """Whether it answers, and what it knows."""
    if target.coordinator_url is None:
        return [
            Finding("error", "coordinator", "no address is known", "set MUNIFLOW_COORDINATOR_URL, or `muniflow up`")
        ]
    try:
        info = CoordinatorApi(target.coordinator_url).info()
    except MuniflowError as error:
        return [Finding("error", "coordinator", str(error), remedies.coordinator_away())]
    findings = [Finding("ok", "coordinator", f"{info.version}, operations: {', '.join(info.operations) or 'none'}")]
    if not info.connected:
        findings.append(Finding("error", "coordinator", "it has no connection to the broker", remedies.see_log()))
    if info.blocked:
        findings.append(Finding("error", "coordinator", f"the broker blocks it: {info.blocked}", "see the alarm"))
    if info.unknown_events:
        named = ", ".join(info.unknown_batches[-3:])
        what = f"{info.unknown_events} events of batches that the ledger does not know, such as {named}"
        findings.append(Finding("warning", "ledger", what, LOST_LEDGER))
    if not info.operations:
        findings.append(Finding("error", "coordinator", "no step package is installed there", INSTALL_THERE))
    return findings


def check_failures(target: Target) -> list[Finding]:
    """What failed for good and was neither replayed nor dropped."""
    if target.coordinator_url is None:
        return []
    coordinator = CoordinatorApi(target.coordinator_url)
    try:
        failed: Counter[str] = Counter()
        for group in coordinator.failure_counts().groups:
            failed[group.operation] += group.images
        letters = Counter(letter.queue for letter in coordinator.letters())
    except MuniflowError:
        return []  # `check_coordinator` says why
    return [
        *(_failed(operation, f"{count} images failed", operation) for operation, count in failed.items()),
        *(_failed(queue, f"{count} messages are no task", queue) for queue, count in letters.items()),
    ]


def _failed(name: str, what: str, stage: str) -> Finding:
    to_do = f"see why: `muniflow dead list --stage {stage}`; again: `muniflow dead replay --stage {stage}`"
    return Finding("warning", f"failures {name}", what, to_do)


def check_alarms(metrics_url: str | None, remedies: Remedies) -> list[Finding]:
    """The broker's alarms, where its metrics can be read."""
    if metrics_url is None:
        to_do = "`rabbitmq-plugins enable rabbitmq_prometheus` and set MUNIFLOW_RABBITMQ_METRICS_URL"
        return [Finding("warning", "alarm", "RabbitMQ's metrics are not known", to_do)]
    try:
        with urllib.request.urlopen(f"{metrics_url.rstrip('/')}/metrics", timeout=TIMEOUT_S) as answer:  # noqa: S310  # an operator's address
            return alarm_findings(answer.read(2**25).decode(errors="replace"), remedies)
    except (OSError, ValueError) as error:
        return [Finding("warning", "alarm", f"RabbitMQ's metrics: {error}", remedies.metrics_away())]


def check_database(url: str | None) -> list[Finding]:
    """The coordinator's ledger, where it is a file of this machine."""
    if url is None or not url.startswith(SQLITE):
        return []
    path = Path(url.removeprefix(SQLITE))
    try:
        if not path.exists():
            return [Finding("warning", "ledger", f"{path} is not there yet", "the coordinator makes it when it starts")]
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            [said] = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except (OSError, sqlite3.OperationalError) as error:
        return [Finding("error", "ledger", f"{path}: {error}", LEDGER_ACCESS)]
    except sqlite3.DatabaseError as error:  # what is there is no database, or a damaged one
        said = str(error)
    if said != "ok":
        to_do = "stop the coordinator and restore the file from a backup"
        return [Finding("error", "ledger", f"{path}: {said}", to_do)]
    return [Finding("ok", "ledger", str(path))]


def check_limits(stores: StoreSettings) -> list[Finding]:
    """Limits of this machine."""
    findings = []
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEW_FILES:
        findings.append(
            Finding("warning", "limits", f"only {files} open files are allowed", f"`ulimit -n {FEW_FILES}`")
        )
    for name, url in (("work", stores.work_url), ("output", stores.output_url)):
        folder = _folder(url)
        if folder is not None and os.path.isdir(folder):  # noqa: PTH112 - `is_dir` raises where it may not look
            free = shutil.disk_usage(folder).free
            if free < LOW_DISK_BYTES:
                findings.append(Finding("warning", "limits", f"{name} store: {free // 2**20} MiB left", "free space"))
    return findings or [Finding("ok", "limits", f"{files} open files, enough disk space")]


def check_operations(operations: Mapping[str, Operation]) -> list[Finding]:
    """What is installed here."""
    if not operations:
        to_do = "install one, such as muniflow-resize; `submit` works without"
        return [Finding("warning", "operations", "no step package is installed here", to_do)]
    return [Finding("ok", "operations", ", ".join(operations))]


def _source(url: str) -> Finding:
    folder = _folder(url)
    try:
        if folder is not None and not folder.is_dir():
            to_do = "make it, or set MUNIFLOW_SOURCE_URL to where images are and start the stack with it"
            return Finding("error", "source store", f"{folder} is not a folder", to_do)
        next(iter(open_store(url).list()), None)
    except (OSError, MuniflowError) as error:  # the former: it lies in a folder that cannot be entered
        return Finding("error", "source store", f"{url}: {error}", "check MUNIFLOW_SOURCE_URL and its permissions")
    return Finding("ok", "source store", url)


def _written(check: str, name: str, url: str) -> list[Finding]:
    try:
        open_store(url).check()
    except MuniflowError as error:
        return [Finding("error", check, f"{url}: {error}", f"check {name}, its permissions and its space")]
    return [Finding("ok", check, f"{url} can be written, read and deleted")]


def _folder(url: str) -> Path | None:
    """The folder of a local store; `None` for any other."""
    return Path(url.removeprefix("file://")) if "://" not in url or url.startswith("file://") else None
