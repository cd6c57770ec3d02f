import subprocess
import sys

PROGRAM = """
import sys
import muniflow_gateway.service
from muniflow.model.operation import installed_operations
assert installed_operations()
print(sorted({"cv2", "numpy"} & set(sys.modules)))
"""


def test_the_gateway_loads_neither_opencv_nor_numpy():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
