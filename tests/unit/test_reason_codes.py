"""Every place where an image fails gives a reason code, and every code is declared and documented."""

import ast
from pathlib import Path
from typing import get_args

import pytest

from muniflow.errors import Invalid, NotFound, Rejected, Unavailable
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits
from muniflow.model.ledger import Ledger
from muniflow.model.messages import RouteStep, Settled
from muniflow.model.report import image_entry
from muniflow.model.settlement import MAX_ATTEMPTS, Fail, settle
from muniflow.reason_codes import REASONS, FailKind, ReasonCode

ROOT = Path(__file__).parents[2]
FOLDERS = [
    *(f"libs/common/muniflow/{name}" for name in ("images", "compute", "store")),
    *(f"services/{name}/muniflow_{name}" for name in ("resize", "split", "blur")),
]
"""Where images are refused."""
PNG = b"\x89PNG\r\n\x1a\n"


def calls(name: str) -> list[tuple[str, ast.Call]]:
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def test_every_refusal_of_an_image_names_its_code() -> None:
    found = calls("Rejected")
    assert len(found) > 15
    assert [place for place, call in found if "reason_code" not in {each.arg for each in call.keywords}] == []


def test_every_code_has_a_meaning_and_is_documented() -> None:
    assert tuple(REASONS) == get_args(ReasonCode)
    assert {reason.kind for reason in REASONS.values()} == set(get_args(FailKind))
    page = (ROOT / "docs/reference/report.md").read_text()
    for code, reason in REASONS.items():
        assert f"| `{code}` | {reason.meaning} |" in page


@pytest.mark.parametrize(("error", "attempt", "code"), [
    (Rejected("no"), 1, "refused"),
    (Rejected("no", reason_code="operation_refused"), 1, "operation_refused"),
    (NotFound("gone"), 1, "source_missing"),
    (Invalid(()), 1, "refused"),
    (MemoryError(), 1, "out_of_memory"),
    (Unavailable("store"), MAX_ATTEMPTS, "part_away"),
    (ZeroDivisionError(), 1, "internal_error"),
])  # fmt: skip
def test_the_code_of_an_error(error: Exception, attempt: int, code: str) -> None:
    fate = settle(error, attempt)
    assert isinstance(fate, Fail)
    assert fate.code == code
    assert fate.kind == REASONS[fate.code].kind


@pytest.mark.parametrize(("data", "code"), [
    (b"", "file_empty"),
    (b"GIF89a and so on", "not_an_image"),
    (PNG, "image_damaged"),
    (b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0", "image_too_large"),
    (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0", "image_unsupported"),
])  # fmt: skip
def test_the_code_of_a_bad_file(data: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_header(memoryview(data), ImageLimits())
    assert caught.value.reason_code == code


def test_an_image_has_the_code_of_its_first_failed_part_in_split_order() -> None:
    first = Settled.failure("b", 0, 0, lineage=((0, 2),), reason="no", step=0, code="timed_out")
    second = Settled.failure("b", 0, 0, lineage=((1, 2),), reason="no", step=1, code="crashed")
    for order in ((first, second), (second, first)):
        ledger = Ledger((RouteStep(op="split", fan_out=2), RouteStep(op="blur")))
        ledger.open(0, 0)
        (image,) = ledger.apply(order).settled
        assert (image.code, image.operation) == ("timed_out", "split")


def test_an_event_of_a_worker_that_knows_no_codes_is_a_failure_all_the_same() -> None:
    ledger = Ledger((RouteStep(op="blur"),))
    ledger.open(0, 0)
    (image,) = ledger.apply([Settled(batch="b", image=0, reason="no")]).settled
    assert (image.state, image.code) == ("failed", "unknown")
    assert image_entry(0, "a.jpg", "done")["reason_code"] is None
    assert image_entry(0, "a.jpg", "failed")["reason_code"] == "unknown"
