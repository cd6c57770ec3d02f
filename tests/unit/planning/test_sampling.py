"""A manifest of a million lines is planned in under 5 s: its lines are passed over, not looked at one by one."""

import json
import time
from pathlib import Path

import pytest

from muniflow.errors import Invalid
from muniflow.forecast.sizes import SAMPLE_IMAGES
from muniflow.images.limits import DEFAULT_LIMITS
from muniflow.model.batch import Batch, read_batch
from muniflow.model.operation import installed_operations
from muniflow.planning.sampling import sample_sizes
from muniflow.store.open import open_store

PICTURE = next((Path(__file__).parents[3] / "examples/images").glob("*.jpg"))
LINES, SECONDS = 200_000, 1.0
"""A fifth of both."""


def batch_of(manifest: str) -> Batch:
    document = {"batch_id": "b", "manifest": manifest, "operations": [["resize", "50%"]], "destination": "out"}
    return read_batch(json.dumps(document).encode(), installed_operations())


def test_a_long_manifest_is_sampled_fast(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(PICTURE.read_bytes())
    (tmp_path / "list.txt").write_text("in/a.jpg\n" * LINES)
    source, output = open_store(str(tmp_path)), open_store(str(tmp_path / "results"))
    began_s = time.process_time()
    sampling = sample_sizes(batch_of("list.txt"), source, output, DEFAULT_LIMITS)
    spent_s = time.process_time() - began_s
    assert (sampling.sample.count, sampling.sample.sampled, sampling.unreadable) == (LINES, SAMPLE_IMAGES, ())
    assert spent_s < SECONDS


def test_an_empty_manifest_has_no_plan(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(Invalid, match="names no image"):
        sample_sizes(batch_of("list.txt"), open_store(str(tmp_path)), open_store(str(tmp_path / "o")), DEFAULT_LIMITS)
