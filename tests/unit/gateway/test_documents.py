import json

import pytest

from muniflow.errors import Fault, Invalid
from muniflow.forecast.sizes import Picture
from muniflow.images.limits import ImageLimits
from muniflow.model.batch_faults import BATCH_ID
from muniflow.model.budget import BatchBudget
from muniflow.model.operation import Size, installed_operations
from muniflow.planning.budgets import Budgets
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.settings import read_env
from muniflow_gateway.clients.coordinator import CoordinatorClient
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload.budgets import BudgetCheck
from muniflow_gateway.upload.documents import (
    IdempotencyRecord,
    Rights,
    check_document,
    new_batch_id,
    repeatable_batch_id,
    with_batch_id,
)

NOW_S = 1_800_000_000.0


def test_ids_of_uploads_sort_by_time_and_differ():
    assert new_batch_id(0).startswith("19700101-000000-")
    assert len({new_batch_id(0) for _ in range(100)}) == 100
    assert BATCH_ID.fullmatch(new_batch_id())


def test_a_key_gives_the_same_id_to_the_same_caller_only():
    first = repeatable_batch_id("utrecht", "k1")

    assert first == repeatable_batch_id("utrecht", "k1")
    assert BATCH_ID.fullmatch(first)
    assert len({first, repeatable_batch_id("delft", "k1"), repeatable_batch_id("utrecht", "k2")}) == 3


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "é", "a\tb"])
def test_what_is_no_idempotency_key_is_refused(key):
    with pytest.raises(Invalid, match="Idempotency-Key"):
        repeatable_batch_id("utrecht", key)


@pytest.mark.parametrize(
    ("body", "batch_id"), [(b'{"a": 1}', "new"), (b'{"batch_id": "own"}', "own"), (b'{"batch_id": null}', "new")]
)
def test_an_id_is_given_to_a_document_that_has_none(body, batch_id):
    assert json.loads(with_batch_id(body, "new"))["batch_id"] == batch_id


@pytest.mark.parametrize("body", [b"[", b"[]", b"1", b"[" * 100_000])
def test_what_is_no_document_is_left_to_the_check(body):
    assert with_batch_id(body, "new") == body


def test_a_claim_comes_back_as_it_was():
    record = IdempotencyRecord("d", b'{"a": "\xc3\xa9"}')
    assert IdempotencyRecord.from_bytes(record.to_bytes()) == record


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"x"'])
def test_what_is_no_claim_is_told(body):
    with pytest.raises(ValueError, match=r"."):
        IdempotencyRecord.from_bytes(body)


def test_a_json_document_cannot_name_what_was_sent_with_a_form():
    body = {"batch_id": "b", "source": ".muniflow/uploads/b", "operations": [["resize", "50%"]]}
    with pytest.raises(Invalid, match="source: a part of a key cannot begin with"):
        check_document(json.dumps(body).encode(), installed_operations(), Rights("default", {}), NOW_S)


@pytest.mark.parametrize(("wrong", "places"), [
    ({}, ["priority", "deadline", "source"]),
    ({"operations": [["turn", 1]]}, ["operations[0]", "priority", "deadline", "source", "deadline"]),
    ({"source": 5, "weight": 0}, ["source", "weight", "priority", "deadline", "deadline"]),
])  # fmt: skip
def test_every_fault_of_a_json_document_is_named_at_once(wrong, places):
    """A batch that is right by itself may be known already, so that its deadline may have passed."""
    body = {
        "operations": [["resize", "50%"]],
        "source": "delft",
        "priority": "high",
        "deadline": "2001-01-01T00:00:00Z",
    }
    rights = Rights("utrecht", {}, urgent=False)
    with pytest.raises(Invalid) as refused:
        check_document(json.dumps(body | wrong).encode(), installed_operations(), rights, NOW_S)
    assert [fault.place for fault in refused.value.faults] == places


def test_images_and_batches_that_are_too_large_are_named_together():
    settings = BudgetSettings(batch_budget=BatchBudget(images=2))
    coordinator = CoordinatorClient("http://localhost")  # not asked
    check = BudgetCheck(
        Budgets(settings, ImageLimits(max_growth=2, max_pixels=1_000_000)), installed_operations(), coordinator
    )
    body = b'{"batch_id": "b", "images": ["a", "b", "c"], "operations": [["resize", "3000x3000"]]}'
    small, large = Picture(Size(10, 10), "jpg"), Picture(Size(3000, 3000), "jpg")
    pictures = {Fault(f"files[{n}]", f"{n}.jpg"): each for n, each in enumerate((small, large, large))}
    assert [fault.place for fault in check.needed(body, "default", pictures).faults] == ["files[0]", "images"]
    assert check.needed(body, "default", {}).faults == ()


@pytest.mark.parametrize(
    ("prefix", "works"), [(".muniflow/uploads", True), ("in/box", True), (".up", False), ("/x", False)]
)
def test_uploads_go_where_their_batch_can_name_them(prefix, works):
    if works:
        assert read_env(GatewaySettings, {"MUNIFLOW_UPLOADS_PREFIX": prefix}).uploads_prefix == prefix
    else:
        with pytest.raises(Invalid, match="MUNIFLOW_UPLOADS_PREFIX"):
            read_env(GatewaySettings, {"MUNIFLOW_UPLOADS_PREFIX": prefix})
