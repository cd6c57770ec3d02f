"""`examples/serverless/kubernetes-job.yaml` as it is, run by the real Job controller; one share is lost and run again.

Stands in: volumes are folders, the image `muniflow-run` is this checkout.
"""

import shutil
from pathlib import Path

import pytest
import yaml
from tests.cluster.bench import Bench
from tests.deploy.chart import ROOT
from tests.support.waiting import eventually

from muniflow_cli.main import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
EXAMPLE = ROOT / "examples/serverless/kubernetes-job.yaml"
NAME = "muniflow-demo"
SHARES = 4
CLAIMS = {"photographs": "ReadWriteMany", "results": "ReadWriteMany"}


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


def test_the_example_makes_the_whole_batch_though_a_share_is_killed(bench, tmp_path):
    configuration, job = yaml.safe_load_all(EXAMPLE.read_text())
    claims = bench.kubelet.folder / "claims"
    for name, mode in CLAIMS.items():
        bench.claim(name, mode)
    shutil.copytree(ROOT / "examples/images", claims / "photographs", dirs_exist_ok=True)
    space = f"/api/v1/namespaces/{bench.namespace}"
    jobs = f"/apis/batch/v1/namespaces/{bench.namespace}/jobs"
    bench.api.post(f"{space}/configmaps", configuration)
    bench.api.post(jobs, job)
    try:
        eventually(lambda: bench.kubelet.named(f"{NAME}-1-"), 60, "share 1")
        (killed,) = bench.kubelet.named(f"{NAME}-1-")
        eventually(lambda: killed.started, 30, "its process")
        killed.signal(9)
        eventually(
            lambda: finished(bench, jobs), 240, lambda: f"{bench.api.get(f'{jobs}/{NAME}')['status']}", every_s=0.5
        )
        status = bench.api.get(f"{jobs}/{NAME}")["status"]
        assert status["completedIndexes"] == f"0-{SHARES - 1}"
        assert status["failed"] == 1, "the killed one, and no other"
    finally:
        bench.api.delete(f"{jobs}/{NAME}?propagationPolicy=Background")
        bench.api.delete(f"{space}/configmaps/{NAME}")
    results = claims / "results" / "demo"
    assert run(["report", "merge", str(results), "--out", str(tmp_path / "report.json")]) == 0
    batch = tmp_path / "batch.json"
    batch.write_text(configuration["data"]["batch.json"])
    whole = ["run", str(batch), "--source", str(ROOT / "examples/images"), "--out", str(tmp_path / "whole")]
    assert run(whole) == 0
    assert images(results) == images(tmp_path / "whole" / "demo")


def finished(bench: Bench, jobs: str) -> bool:
    conditions = bench.api.get(f"{jobs}/{NAME}")["status"].get("conditions", [])
    return any(one["status"] == "True" and one["type"] in {"Complete", "Failed"} for one in conditions)
