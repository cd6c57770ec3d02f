"""`python -m muniflow_resize` serves the queue; `python -m muniflow_resize once` is the filter on stdin and stdout."""

import sys

from muniflow.worker.main import main

if __name__ == "__main__":
    sys.exit(main(default_operations=("resize",)))
