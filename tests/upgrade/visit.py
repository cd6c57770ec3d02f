"""What people do at each mix of two builds, with either command line and through the gateway."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.chaos.harness import document
from tests.chaos.truth import Document
from tests.unit.images import craft
from tests.upgrade.known import OUTPUT, OWNERS, PICTURES, ROUTE, run_here
from tests.upgrade.mixes import WAYS, Mix, Way

from muniflow.errors import NotFound
from muniflow.model.api import BATCHES as BATCHES_PATH
from muniflow.model.api import batch_path
from muniflow.model.topology import CONTROL
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.types import OutgoingMessage
from muniflow_cli.commands import exits

HANDS: tuple[Way, ...] = ("gateway", "older", "newer")
"""Who replays."""
NO_COMMAND = "this is no command"
PAGE = ("/", "/v1/session", "/v1/stages", "/v1/operations", "/v1/batches", "/readyz", "/openapi.json")


def visit(mix: Mix) -> None:
    """Everything, once."""
    _traits(mix)
    _dead(mix)
    _letter(mix)
    _cancel(mix)
    _rejected(mix)
    _look(mix)
    _owners(mix)
    _erase(mix)


def _traits(mix: Mix) -> None:
    """Each trait, handed in another way at each mix; the plain one in every way."""
    sent = []
    for place, trait in enumerate(mix.asked):
        ways = WAYS if trait.name == "plain" else (WAYS[(place + mix.number) % len(WAYS)],)
        sent += [(trait, found) for way in ways if (found := mix.send(trait, way)) is not None]
    workers = mix.walk.names("workers")
    for trait, (batch, revision) in sent:
        mix.walk.harness.until(partial(mix.has_ended, batch, revision), f"{mix}: the end of {batch}")
        mix.judge(batch, outdated=trait.name not in mix.known(*workers).traits)
        if trait.name == "checksums" and trait.name in mix.known("coordinator", *workers).traits:
            _verify(mix, batch)


def _verify(mix: Mix, batch: str) -> None:
    folder, source = mix.walk.harness.root("output") / batch, mix.walk.harness.root("source")
    for age in mix.pair.cli:
        mix.run(age, "verify", str(folder), "--source", str(source))


# Failures


def picture_of(hand: Way) -> str:
    """An image that fails first; who replays it has one of its own."""
    return f"dead/{hand}.jpg"


def dead_document(batch_id: str, hand: Way) -> Document:
    """Its image, and a good one."""
    return document(batch_id, [PICTURES[0], picture_of(hand)], ROUTE, OUTPUT)


def write_dead(source: Path, hand: Way, *, good: bool) -> None:
    """Mend it, or break it."""
    path = source / picture_of(hand)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(craft.jpeg(craft.photo(60, 44)) if good else b"not an image")


def _dead(mix: Mix) -> None:
    """Images fail, are mended, and are replayed by each command line and through the gateway."""
    harness = mix.walk.harness
    sent = {hand: dead_document(f"dead-{mix.number}-{hand}", hand) for hand in HANDS}
    for hand in HANDS:
        write_dead(harness.root("source"), hand, good=False)
    harness.submit(*sent.values())
    names = [each["batch_id"] for each in sent.values()]
    harness.until_ended(*names)
    for hand, batch in zip(HANDS, names, strict=True):
        status = harness.status(batch)
        if status is None or (status.done, status.failed) != (1, 1):
            mix.wrong(f"{batch}: {status}")
        write_dead(harness.root("source"), hand, good=True)
        replay(mix, hand, batch)
        harness.until(partial(is_done, mix, batch), f"{mix}: {batch} replayed by {hand}")
        mix.judge(batch)


def is_done(mix: Mix, batch: str) -> bool:
    status = mix.walk.harness.status(batch)
    return status is not None and status.state == "done"


def is_known(mix: Mix, batch: str) -> bool:
    return mix.walk.harness.status(batch) is not None


def replay(mix: Mix, hand: Way, batch: str) -> None:
    """By this hand; where failures are kept elsewhere than it looks, it does no harm and the other one does it."""
    knows = mix.pair.known[mix.age(hand)].lists_failures
    able = knows == mix.known("coordinator").lists_failures
    if hand == "gateway":
        answer = mix.ask("POST", f"{batch_path(batch)}/replay", json={})
        if answer.status_code == 202:
            return
        if able and knows:
            mix.wrong(f"replay of {batch}: {answer.status_code} {answer.text[-300:]}")
        hand, able = "newer", mix.pair.known["newer"].lists_failures == mix.known("coordinator").lists_failures
    if able:
        listed = mix.run(hand, "dead", "list", "--batch", batch, "--json")
        if batch not in listed.text:
            mix.wrong(f"{hand} dead list --batch {batch}: {listed.text[-500:]}")
        mix.run(hand, "dead", "show", "--batch", batch, "--json")
        mix.run(hand, "dead", "replay", "--batch", batch, "--json")
        return
    for verb in ("list", "replay"):
        mix.run(hand, "dead", verb, "--batch", batch, "--json", codes=(exits.OK, exits.USAGE, exits.UNAVAILABLE))
    other: Way = "older" if hand == "newer" else "newer"
    mix.run(other, "dead", "replay", "--batch", batch, "--json")


def _letter(mix: Mix) -> None:
    """A message that is no command: listed, shown and dropped by both command lines."""
    if not (mix.known("coordinator") & mix.pair.both).lists_failures:
        return
    harness = mix.walk.harness
    with open_channel(harness.settings) as channel:
        for age in mix.pair.cli:
            republish(channel, OutgoingMessage(CONTROL, f"{NO_COMMAND}, {mix.number}, {age}".encode()))
    harness.until(lambda: len(_letters(mix)) == len(mix.pair.cli), f"{mix}: letters")
    for age, number in zip(mix.pair.cli, _letters(mix), strict=True):
        if NO_COMMAND not in mix.run(age, "dead", "show", "--letter", number, "--json").text:
            mix.wrong(f"{age} shows another letter than {number}")
        mix.run(age, "dead", "drop", "--letter", number, "--yes")
    harness.until(lambda: not _letters(mix), f"{mix}: no letter")


def _letters(mix: Mix) -> list[str]:
    """Their numbers."""
    client = mix.walk.harness.client
    found = []
    for number in [letter.number for letter in client.letters()]:
        with suppress(NotFound):  # it was dropped since
            if NO_COMMAND in str(client.letter(number).message):
                found.append(str(number))
    return found


# The rest


def _cancel(mix: Mix) -> None:
    """Both command lines cancel a batch: what it has is right, and each image has an end."""
    harness = mix.walk.harness
    for age in mix.pair.cli:
        batch = f"cancel-{mix.number}-{age}"
        harness.submit(mix.walk.document(0, batch))
        harness.until(partial(is_known, mix, batch), f"{mix}: {batch}")
        mix.run(age, "cancel", batch, "--wait", codes=(exits.OK, exits.FAILED, exits.USAGE))
        harness.until_ended(batch)
        found = harness.guarantees(batch)
        if found.doubled or found.wrong > 1 or found.unsettled:  # the poison may have been cancelled
            mix.wrong(f"{batch}: {found}")


def _rejected(mix: Mix) -> None:
    """An invalid batch is refused on every way, and the field is named."""
    for way in WAYS[1:]:
        wrong = {**document(f"wrong-{mix.number}-{way}", PICTURES, [["nothing", 1]]), "batch_id": f"wrong-{mix.number}"}
        refusal = mix.hand_in(wrong, way)
        if refusal is None or "operations[0]" not in refusal:
            mix.wrong(f"an invalid batch by {way}: {refusal}")


def _look(mix: Mix) -> None:
    """What people look at, with both command lines and on the page."""
    batch = f"mix-{mix.number}-plain-broker"
    for age in mix.pair.cli:
        for command, field in (("status", "state"), ("report", "state"), ("watch", "state")):
            said = mix.run(age, command, batch, "--json")
            if (said.json() or {}).get(field) != "done":
                mix.wrong(f"{age} {command}: {said.text[-500:]}")
        mix.run(age, "status", "--json")
        mix.run(age, "stages", "--json")
    for path in (*PAGE, *(f"{BATCHES_PATH}/{batch}{part}" for part in ("", "/images", "/outputs", "/report"))):
        answer = mix.ask("GET", path)
        if answer.status_code != 200:
            mix.wrong(f"GET {path}: {answer.status_code}: {answer.text[-300:]}")
    if (state := mix.ask("GET", f"{BATCHES_PATH}/{batch}").json().get("state")) != "done":
        mix.wrong(f"the gateway says {state} of {batch}")


def owned_document(batch_id: str) -> Document:
    """A batch of the first owner, who may read below the own name only."""
    return document(batch_id, [f"{OWNERS[0]}/photo.jpg"], ROUTE, OUTPUT)


def _owners(mix: Mix) -> None:
    """A batch of one owner is nobody else's, whichever of gateway and coordinator is older."""
    if not mix.pair.both.has_owners:
        return
    mine, other = mix.owners
    batch = f"owned-{mix.number}"
    sent = owned_document(batch)
    if (answer := mix.ask("POST", "/v1/batches", mine, json=dict(sent))).status_code != 202:
        mix.wrong(f"{batch}: {answer.status_code} {answer.text[-300:]}")
        return
    mix.walk.harness.expect(sent)
    mix.walk.harness.until_ended(batch)
    mix.judge(batch)
    seen = [mix.ask("GET", f"{BATCHES_PATH}/{batch}", who).status_code for who in (mine, other)]
    if seen != [200, 404]:
        mix.wrong(f"{batch}: its owner and another one get {seen}")


def _erase(mix: Mix) -> None:
    """Erase batches of this mix on every way that knows it."""
    if not mix.known("coordinator").erases:
        return
    for way in HANDS:
        batch = f"mix-{mix.number}-plain-{way}"
        if not mix.pair.known[mix.age(way)].erases or mix.walk.harness.status(batch) is None:
            continue
        if way == "gateway":
            answer = mix.ask("DELETE", f"{BATCHES_PATH}/{batch}?erase=true")
            if answer.status_code != 202:
                mix.wrong(f"erase of {batch}: {answer.status_code} {answer.text[-300:]}")
                continue
        else:
            mix.run(way, "erase", batch, "--yes", "--wait")
        mix.walk.harness.until(partial(mix.is_gone, batch), f"{mix}: {batch} is gone")


def know_all(mix: Mix) -> None:
    """The truth of everything that is handed in, from the local engine of the newer build.

    Of what is mended and replayed: as if it had been good from the start.
    """
    cli, source = mix.pair.cli["newer"], mix.walk.harness.root("source")
    sent = [*(trait.document("truth") for trait in mix.asked), owned_document("truth")]
    for hand in HANDS:
        write_dead(source, hand, good=True)
        sent.append(dead_document("truth", hand))
    for each in sent:
        mix.walk.harness.know(each, run_here(cli, each, source))
