"""What units of several parts share."""

from pathlib import Path

import pytest

from muniflow.runtime.key_files import rotate_keys


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """The two files of keys: to sign tasks with, and to verify them with."""
    made = tmp_path / "signing.pem", tmp_path / "verify.pem"
    rotate_keys(*made)
    return made
