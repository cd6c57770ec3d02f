import sys
from pathlib import Path

SUPPORT = str(Path(__file__).parents[2] / "support")
# A fork server finds these modules by the same path, which the tests give it.
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
