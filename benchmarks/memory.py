"""Peak resident memory of every process of muniflow while huge images pass through it."""

import json
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks import proc
from benchmarks.cluster import Cluster, batch_name
from benchmarks.contenders.muniflow_broker import TIMEOUT_S, document, groups_of
from benchmarks.corpus import SIZES, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.tables import Result
from muniflow.model.keys import REPORT

SAMPLE_S = 0.1
PATIENT = {"MUNIFLOW_COMPUTE_TIMEOUT_S": "900"}
"""On a busy machine a panorama may take longer than the default allows; here it is memory that counts."""
CHILD_LIMIT_MB = 1500
"""What a compute child may take for a panorama of 134 megapixels."""


def memory(size: str, images: int, routes: Sequence[str], photos: Path) -> Result:
    """Each route through workers that chain it."""
    pictures = corpus(SIZES[size], images, photos)
    rows, highest_mb = [], 0.0
    for route in (ROUTES[name] for name in routes):
        folder = Path(tempfile.mkdtemp(prefix="memory-", dir=cache_folder()))
        try:
            groups = groups_of(route, chained=True)
            with Cluster(folder, pictures.root, groups, PATIENT) as cluster, cluster.client() as client:
                peaks: dict[str, float] = {}
                ended = threading.Event()
                watch = threading.Thread(target=_watch, args=(cluster, peaks, ended), daemon=True)
                watch.start()
                batch_id = batch_name("memory")
                client.submit(document(batch_id, pictures, route))
                notice, _ = client.wait([batch_id], TIMEOUT_S)[batch_id]
                ended.set()
                watch.join()
                if notice.state != "done":
                    report = json.loads((cluster.output / batch_id / REPORT).read_text())
                    raise SystemExit(f"{route.name}: {notice.state}, {report['images'][0]['reasons']}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        highest_mb = max(highest_mb, peaks.get("child", 0.0))
        parts = [f"{peaks.get(part, 0.0):.0f}" for part in ("child", "parent", "coordinator")]
        rows.append((route.text, notice.state, *parts))
        print(f"  {route.name}: {notice.state}, {parts[0]} MB", flush=True)
    header = ("route", "state", "compute child, MB", "worker parent, MB", "coordinator, MB")
    notes = (
        f"{images} images; the highest resident memory (VmHWM) of any process of that kind",
        f"{'under' if highest_mb < CHILD_LIMIT_MB else 'NOT under'} {CHILD_LIMIT_MB} MB per compute child",
    )
    return Result(f"Memory, {size} px, chained", header, tuple(rows), notes)


def _watch(cluster: Cluster, peaks: dict[str, float], ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_S):
        found = {"coordinator": [cluster.coordinator_pid], "parent": cluster.worker_pids}
        found["child"] = [stat.pid for stat in proc.tree(cluster.worker_pids) if stat.pid not in cluster.worker_pids]
        for part, pids in found.items():
            # The kernel keeps each process's own peak; a child that is replaced has a peak of its own.
            peaks[part] = max([peaks.get(part, 0.0), *(proc.rss_mb(pid, "VmHWM") for pid in pids)])
