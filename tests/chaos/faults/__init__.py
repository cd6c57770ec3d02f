"""A step package that is installed for a test only: found by its entry points, like every other."""

import os
from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: muniflow-trouble\nVersion: 0\n"
ENTRY_POINTS = """[muniflow.operations]
trouble = muniflow_trouble:OPERATION

[muniflow.steps]
trouble = muniflow_trouble:STEP
"""


def installed_in(folder: Path) -> dict[str, str]:
    """Install it below `folder`; returns the variables for processes that are to find it."""
    information = folder / "muniflow_trouble-0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(METADATA)
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "muniflow_trouble.py").write_bytes((Path(__file__).parent / "muniflow_trouble.py").read_bytes())
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}
