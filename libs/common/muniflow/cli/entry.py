"""Where the script `muniflow` begins: says what is missing when the library was installed without its command line."""

import sys

LIBRARIES = frozenset({"click", "rich"})
MISSING_EXIT = 69
"""`exits.UNAVAILABLE`, which cannot be read before the libraries are there."""


def main() -> None:
    """Run the command line."""
    try:
        from muniflow.cli.main import main as run
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        sys.stderr.write(f"muniflow: the command line needs {error.name}: pip install 'muniflow[cli]'\n")
        sys.exit(MISSING_EXIT)
    run()
