"""Whose a batch is, who may command it, and that owners take turns."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from tests.unit.coordinator.conftest import all_done, failed

from muniflow.errors import Invalid
from muniflow.model.audit import BY_HEADER, FROM_HEADER, AuditEntry
from muniflow.model.owners import OWNER_HEADER, granted, owner_problem, read_grants, source_faults
from muniflow.model.topology import AUDIT, notice_key
from muniflow.transport.types import Delivery
from muniflow_coordinator.api.failures import FailureAnswers
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.state.failure_types import ANY
from muniflow_coordinator.state.opening import open_state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.coordinator.conftest import CoordinatorHarness

UTRECHT, DELFT = {"user_id": "utrecht"}, {"user_id": "delft"}
OF_UTRECHT = {"user_id": "gateway", "headers": {OWNER_HEADER: "utrecht"}}


@pytest.mark.parametrize(("sender", "owner"), [
    ({}, "default"), (UTRECHT, "utrecht"), (OF_UTRECHT, "utrecht"), ({"user_id": "gateway"}, "default"),
    ({"user_id": "ops"}, "default"), ({"headers": {OWNER_HEADER: "utrecht"}}, "default"),
])  # fmt: skip
def test_a_batch_belongs_to_who_sent_it(harness: "CoordinatorHarness", sender: Any, owner: str) -> None:
    harness.pictures(1, "in" if owner == "default" else f"{owner}/in")
    harness.start()
    harness.submit(sender=sender, source="in" if owner == "default" else f"{owner}/in")
    assert harness.finish().owner == owner
    assert harness.state is not None
    assert [row.owner for row in harness.state.batches(owner=owner)] == [owner]
    assert harness.state.batches(owner="nobody") == []


@pytest.mark.parametrize(("sender", "place"), [
    ({"user_id": "delft", "headers": {OWNER_HEADER: "utrecht"}}, OWNER_HEADER),
    ({"user_id": "gateway", "headers": {OWNER_HEADER: "a.b"}}, OWNER_HEADER),
    ({"user_id": "a.b"}, "user_id"),
])  # fmt: skip
def test_nobody_names_an_owner_but_the_gateway(harness: "CoordinatorHarness", sender: Any, place: str) -> None:
    harness.pictures(1)
    harness.start()
    harness.submit(sender=sender)
    harness.until(lambda: harness.notices)
    assert (harness.notices[0].state, harness.notices[0].faults[0]["place"]) == ("rejected", place)


def test_who_does_not_name_the_sender_is_refused_where_that_is_asked() -> None:
    senders = Senders("gateway", frozenset(), "refuse", {})
    with pytest.raises(Invalid, match="MUNIFLOW_UNNAMED_SENDERS"):
        senders.of(Delivery("muniflow.batches", b"", 1, 1, headers={OWNER_HEADER: "utrecht"}))


@pytest.mark.parametrize("document", [
    {"source": "in"}, {"source": "utrecht/in"}, {"source": ".muniflow/uploads/b"},
    {"batch_id": "key-" + "0" * 32, "source": "delft/"}, {"batch_id": "batch-" + "0" * 16, "source": "delft/"},
])  # fmt: skip
def test_an_owner_takes_nothing_that_is_not_its_own(harness: "CoordinatorHarness", document: dict[str, Any]) -> None:
    harness.pictures(1)
    harness.start()
    harness.submit(sender=DELFT, **document)
    harness.until(lambda: harness.notices)
    assert (harness.notices[0].state, harness.notices[0].owner) == ("rejected", "delft")


def test_the_id_and_the_destination_of_another_owner_are_taken(harness: "CoordinatorHarness") -> None:
    harness.pictures(1, "utrecht")
    harness.pictures(1, "delft")
    harness.start()
    harness.submit(sender=UTRECHT, source="utrecht", destination="there")
    harness.finish()
    documents: tuple[dict[str, Any], ...] = (
        {"source": "utrecht"},
        {"source": "delft"},
        {"batch_id": "c", "destination": "there/x"},
    )
    for document in documents:
        harness.notices.clear()
        harness.submit(sender={"user_id": "gateway", "headers": {OWNER_HEADER: "delft"}}, **document)
        harness.until(lambda: harness.notices)
        notice = harness.notices[0]
        assert (notice.state, notice.owner, notice.total) == ("rejected", "delft", 0)
        assert "batch b" not in notice.faults[0]["problem"]


def test_only_its_owner_and_operators_command_a_batch(harness: "CoordinatorHarness") -> None:
    harness.pictures(30, "utrecht")
    harness.hold = True
    harness.start(window_images=3)
    harness.submit(sender=OF_UTRECHT, source="utrecht")
    harness.until(lambda: len(harness.held) == 3)
    for sender in ({}, DELFT, {"user_id": "gateway", "headers": {OWNER_HEADER: "delft"}}):
        harness.command("cancel", sender=sender)
    harness.until(lambda: harness.depth("muniflow.control") == 0)
    harness.submit(batch_id="x", images=[], sender=UTRECHT)  # one more round of the loop
    harness.until(lambda: harness.notices[-1].batch == "x")
    assert harness.state is not None
    assert [row.cancelling for row in harness.state.batches(owner="utrecht")] == [False]
    harness.command("cancel", sender={"user_id": "ops"})
    harness.let_go()
    assert harness.finish().cancelled == 27


def test_forty_heavy_batches_of_one_owner_do_not_delay_an_image_of_another(harness: "CoordinatorHarness") -> None:
    """Turns go by owner: by batch, its image would wait for all of them."""
    harness.pictures(50, "heavy")
    harness.pictures(3, "light")
    harness.hold = True
    harness.start(window_total=40, express_images=0)
    for number in range(40):
        harness.submit(
            batch_id=f"heavy-{number}", source="heavy", weight=100,
            sender={"user_id": "gateway", "headers": {OWNER_HEADER: "heavy"}},
        )  # fmt: skip
    harness.until(lambda: len(harness.held) == 40)
    harness.submit(batch_id="light", source="light", sender={"user_id": "light"})
    harness.until(lambda: any(notice.batch == "light" for notice in harness.notices))
    harness.let_go(10)
    harness.until(lambda: len(harness.tasks) >= 10 and len(harness.held) == 40)
    mine = [json.loads(delivery.body)["batch"] for delivery in harness.held]
    assert mine.count("light") == 3, "every second turn is its own"


def test_weights_are_bounded_by_the_operator(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    coordinator = harness.start(max_weight=5)
    harness.hold = True
    harness.submit(weight=100)
    harness.until(lambda: harness.held)
    (entry,) = coordinator.view.scheduler._entries.values()
    assert entry.standing.weight == 5


def test_notices_carry_the_owner_in_their_key() -> None:
    assert notice_key("done", "default") == "batch.done"
    assert notice_key("*", "utrecht") == "batch.*.utrecht"
    assert [owner_problem(name) is None for name in ("utrecht", "a@b", "a.b", "#", "*", "", "a" * 81)] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip


def test_a_manifest_is_read_only_where_its_owner_may_read() -> None:
    grants = read_grants({}, "grants")
    for manifest, allowed in (("utrecht/list.txt", True), ("delft/secret.txt", False), ("list.txt", False)):
        faults = source_faults("utrecht", "utrecht/a/", None, grants, manifest)
        assert [fault.place for fault in faults] == ([] if allowed else ["manifest"])
    assert not source_faults("default", "", None, grants, "list.txt")


def test_an_invalid_document_has_all_its_faults_named_over_amqp(harness: "CoordinatorHarness") -> None:
    harness.start()
    wrong: dict[str, Any] = {
        "weight": 0, "operations": [["copy", 1], ["burn", 1]], "batch_id": "-", "source": "utrecht/",
        "manifest": "secret.txt", "deadline": "2020-01-01T00:00:00Z",
    }  # fmt: skip
    harness.submit(sender=DELFT, **wrong)
    harness.until(lambda: harness.notices)
    places = [fault["place"] for fault in harness.notices[0].faults]
    assert places == ["weight", "operations[1]", "batch_id", "source", "manifest", "deadline"]


def test_a_taken_id_names_the_batch_that_has_it_and_what_to_do(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.submit()
    harness.finish()
    harness.submit(images=["0000.jpg"], sender={"message_id": "second"})
    harness.until(lambda: harness.notices[-1].state == "rejected")
    assert harness.notices[-1].message_id == "second"
    (fault,) = harness.notices[-1].faults
    assert "another batch with other content, which stays as it is (done)" in fault["problem"]
    assert "another `batch_id`, or leave it out" in fault["problem"]
    assert harness.state
    row = harness.state.find("b")
    assert row is not None
    assert (row.state, row.counts.total) == ("done", 2)


@pytest.mark.parametrize(("owner", "source", "images", "allowed"), [
    ("default", "", None, True), ("utrecht", "utrecht/a/", None, True), ("utrecht", "utrechter/", None, False),
    ("utrecht", "", ("utrecht/a.jpg", "b.jpg"), False), ("utrecht", "", ("utrecht/a.jpg",), True),
    ("delft", "shared/", None, True), ("delft", "delft/", None, False), ("nothing", "x/", None, False),
])  # fmt: skip
def test_grants(owner: str, source: str, images: tuple[str, ...] | None, allowed: bool) -> None:
    grants = read_grants({"delft": ["shared/"], "nothing": []}, "grants")
    assert (not source_faults(owner, source, images, grants)) == allowed
    assert granted("utrecht", grants) == ("utrecht/",)
    with pytest.raises(Invalid, match=r"g\.delft"):
        read_grants({"delft": ["no-slash"]}, "g")


def test_a_ledger_of_the_build_before_gets_its_owners(tmp_path: "Path") -> None:
    """Its batches belong to `default`, and the build before goes on with it: the version is the same."""
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    open_state(url).close()
    with create_engine(url).begin() as connection:
        connection.exec_driver_sql("DROP INDEX batches_by_owner")
        connection.exec_driver_sql("ALTER TABLE batches DROP COLUMN owner")
        columns = "id, fingerprint, spec, municipality, state, cancelling, weight, destination, submitted_at, "
        columns += "total, done, failed, cancelled, tallies"
        values = "'b', 'f', '{}', '', 'done', 0, 1, 'b', 1.0, 1, 1, 0, 0, '[]'"
        insert = f"INSERT INTO batches ({columns}) VALUES ({values})"  # noqa: S608 - all of it is here
        connection.exec_driver_sql(insert)
    for _ in range(2):
        state = open_state(url)
        assert [row.owner for row in state.batches(owner="default")] == ["default"]
        state.close()
    with create_engine(url).begin() as connection:
        connection.exec_driver_sql(insert.replace("'b'", "'c'"))


def test_the_audit_trail_has_each_act_once(harness: "CoordinatorHarness") -> None:
    """Also what was refused, and what comes again over a new connection; nobody but a gateway adds to it."""
    harness.pictures(2, "utrecht")
    harness.start()
    sender = {
        **OF_UTRECHT,
        "message_id": "m1",
        "headers": {OWNER_HEADER: "utrecht", BY_HEADER: "key", FROM_HEADER: "a"},
    }
    harness.submit(sender=sender, source="utrecht")
    harness.finish()
    harness.submit(sender=sender, source="utrecht")
    harness.submit(sender={**DELFT, "message_id": "m2"}, source="utrecht")
    harness.command("reopen", sender={**DELFT, "message_id": "m3"})
    entry = AuditEntry(id="d1", at=1.0, action="download", owner="utrecht", batch="b")
    for who in ({"user_id": "gateway"}, {"user_id": "gateway"}, DELFT):
        harness.publish(AUDIT, entry.to_bytes(), sender=who)
    state = harness.state
    assert state is not None
    harness.until(lambda: len(state.audit()) >= 4 and not harness.depth(AUDIT))
    found = {(entry.action, entry.owner): entry for _, entry in state.audit()}
    submitted, refused = found["submit", "utrecht"], found["submit", "delft"]
    assert len(found) == len(state.audit()) == 4
    assert (submitted.by, submitted.origin, submitted.batch) == ("key", "a", "b")
    assert (refused.by, refused.detail.split(":")[0]) == ("delft", "refused")
    assert found["replay", "delft"].detail == "refused: the batch of another owner"
    assert found["download", "utrecht"].id == "d1"
    (first, _), *_ = newest = state.audit(limit=2)
    assert [number for number, _ in state.audit(after=newest[-1][0])] == [first - 2, first - 3]
    assert [one.action for _, one in state.audit(owner="delft")] == ["replay", "submit"]


def test_of_all_failures_a_sender_replays_and_drops_those_of_its_own_batches(harness: "CoordinatorHarness") -> None:
    harness.answer = failed
    harness.start()
    for owner in ("utrecht", "delft"):
        harness.pictures(3, owner)
        harness.submit(batch_id=owner, source=owner, sender={"user_id": owner})
        assert harness.finish(owner).state == "failed"
    state = harness.state
    assert state is not None
    harness.command("drop", "", sender=DELFT, image=0)
    harness.until(lambda: [group.images for group in state.failure_groups(ANY)] == [3, 2])
    harness.command("drop", "utrecht", sender=DELFT)
    harness.answer = all_done
    harness.notices.clear()
    harness.command("reopen", "", sender={**DELFT, "message_id": "m"})
    assert harness.finish("delft").failed == 1
    assert [(group.batch_id, group.images) for group in state.failure_groups(ANY)] == [("utrecht", 3)]
    answers = FailureAnswers(state)
    for query, seen in (
        ({"owner": "delft"}, 0),
        ({"owner": "delft", "batch": "utrecht"}, 0),
        ({"owner": "utrecht"}, 3),
    ):
        assert len(answers.failures(query).failures) == sum(one.images for one in answers.counts(query).groups) == seen
    harness.until(lambda: len(state.audit(owner="delft")) == 6)
    acts = {(one.action, one.batch, one.detail) for _, one in state.audit(owner="delft")} - {("submit", "delft", "")}
    assert acts == {
        ("drop", "", "every batch with failures"), ("drop", "delft", ""),
        ("drop", "utrecht", "refused: the batch of another owner"),
        ("replay", "", "every batch with failures"), ("replay", "delft", ""),
    }  # fmt: skip


def test_letters_belong_to_no_owner_and_are_replayed_as_of_the_coordinator(harness: "CoordinatorHarness") -> None:
    """It names itself, so that a broker of which every sender must be named takes them."""
    harness.senders = Senders("gateway", frozenset({"ops"}), "refuse", {}, own_user="coordinator")
    harness.pictures(1)
    harness.start()
    harness.submit()  # by nobody, so it is refused
    state = harness.state
    assert state is not None
    harness.until(state.letters)
    (letter,) = state.letters()
    for sender in (DELFT, {"user_id": "gateway", "headers": {OWNER_HEADER: "default"}}):
        for action in ("drop_letter", "replay_letter"):
            harness.command(action, "", sender=sender, letter=letter.number)
    harness.until(lambda: len(state.audit()) == 5)
    assert state.letters() == [letter]
    harness.notices.clear()
    harness.command("replay_letter", "", sender={"user_id": "ops"}, letter=letter.number)
    assert (harness.finish().state, harness.finish().owner) == ("done", "default")
    harness.until(lambda: state.letters() == [])
    details = {(one.action, one.by): one.detail for _, one in state.audit()}
    assert details["drop letter", "delft"] == f"refused: letter {letter.number} belongs to no owner"
    assert details["replay letter", "ops"] == f"letter {letter.number}"


def test_refused_batches_are_kept_with_their_owners(harness: "CoordinatorHarness") -> None:
    harness.start()
    for sender in (UTRECHT, DELFT):
        harness.submit(sender={**sender, "message_id": "m"}, source="x")
    state = harness.state
    assert state is not None
    harness.until(lambda: len(state.rejections()) == 2)
    answers = FailureAnswers(state)
    assert [one.owner for one in answers.rejections({}).rejections] == ["delft", "utrecht"]
    (mine,) = answers.rejections({"owner": "utrecht", "batch": "b"}).rejections
    assert (mine.owner, [fault.place for fault in mine.faults]) == ("utrecht", ["source"])
