"""Peak resident memory of every process of muniflow while huge images pass through it."""

import shutil
import tempfile
import threading
from pathlib import Path

from benchmarks import proc
from benchmarks.cluster import Cluster, batch_name
from benchmarks.contenders.muniflow_broker import PATIENCE_S, document, groups_of
from benchmarks.corpus import SIZES, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.tables import Result

SAMPLE_S = 0.1


def memory(size: str, images: int, photos: Path) -> Result:
    """Every route through workers that chain it."""
    pictures = corpus(SIZES[size], images, photos)
    rows = []
    for route in ROUTES.values():
        folder = Path(tempfile.mkdtemp(prefix="memory-", dir=cache_folder()))
        try:
            with Cluster(folder, pictures.root, groups_of(route, chained=True)) as cluster, cluster.client() as client:
                peaks: dict[str, float] = {}
                ended = threading.Event()
                watch = threading.Thread(target=_watch, args=(cluster, peaks, ended), daemon=True)
                watch.start()
                batch_id = batch_name("memory")
                client.submit(document(batch_id, pictures, route))
                notice, _ = client.wait([batch_id], PATIENCE_S)[batch_id]
                ended.set()
                watch.join()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        parts = [f"{peaks.get(part, 0.0):.0f}" for part in ("child", "parent", "coordinator")]
        rows.append((route.text, notice.state, *parts))
    header = ("route", "state", "compute child, MB", "worker parent, MB", "coordinator, MB")
    note = f"{images} images; the highest resident memory (VmHWM) of any process of that kind"
    return Result(f"Memory, {size} px, chained", header, tuple(rows), (note,))


def _watch(cluster: Cluster, peaks: dict[str, float], ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_S):
        found = {"coordinator": [cluster.coordinator_pid], "parent": cluster.worker_pids}
        found["child"] = [stat.pid for stat in proc.tree(cluster.worker_pids) if stat.pid not in cluster.worker_pids]
        for part, pids in found.items():
            # The kernel keeps each process's own peak; a child that is replaced has a peak of its own.
            peaks[part] = max([peaks.get(part, 0.0), *(proc.rss_mb(pid, "VmHWM") for pid in pids)])
