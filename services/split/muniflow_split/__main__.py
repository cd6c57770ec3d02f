"""`python -m muniflow_split` serves the queue; `python -m muniflow_split once` is the filter on stdin and stdout."""

import sys

from muniflow.worker.main import main

if __name__ == "__main__":
    sys.exit(main(default_operations=("split",)))
