"""The ledger of the older build, opened by the newer one, given back to the older one, and opened again."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tests.support import web
from tests.upgrade.mixes import Mix
from tests.upgrade.survey import PROCESSES, settle
from tests.upgrade.visit import dead_document, is_done, is_known, replay, visit, write_dead

from muniflow.model.api import AUDIT_TRAIL, BATCHES
from muniflow.model.api_failures import FAILURES, LETTERS, REJECTIONS
from muniflow.model.messages import TERMINAL, Command
from muniflow.model.topology import CONTROL
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.types import OutgoingMessage

ALL = frozenset(PROCESSES)
STATIONS = (frozenset[str](), ALL, frozenset[str](), ALL)
"""Upgraded, rolled back to, and upgraded again."""
LISTS = {
    BATCHES: ("batches", ("batch_id",)),
    FAILURES: ("failures", ("batch_id", "image")),
    LETTERS: ("letters", ("number",)),
    REJECTIONS: ("rejections", ("batch_id", "at")),
    AUDIT_TRAIL: ("entries", ("at", "action", "batch")),
}
"""By path of the coordinator: the name of the list, and what tells its entries apart."""
MOVING = frozenset({"steps", "waiting_for", "in_flight"})
"""Fields of an ended batch that are known while it runs, or of the process."""
FAILED = "standing"
ERASED = "mix-1-plain-broker"
Account = dict[str, dict[Any, Mapping[str, Any]]]


def there_and_back(mix: Mix) -> None:
    """Older, newer, older, newer: at each station everything that people do, and what was there is there."""
    before: Account = {}
    for number, newer in enumerate(STATIONS):
        mix.enter(number, newer)
        for text in differences(before, account(mix)):
            mix.wrong(text)
        if number == 2:
            _replay_as_older(mix)
        visit(mix)
        if number == 0:
            _fail(mix)
        if number == 1:
            _begin_what_older_may_not_know(mix)
        before = account(mix)
        if number == 1:
            _ask_to_erase_while_stopped(mix)
            del before[BATCHES][(ERASED,)]
    for trait in mix.asked:
        batch = f"halfway-{trait.name}"
        mix.walk.harness.until(partial(mix.has_ended, batch), f"{mix}: {batch} after the way back")
        mix.judge(batch)
    _see_erased(mix)
    settle(mix)


def _fail(mix: Mix) -> None:
    """An image that fails under the older build, and is replayed by it after the way back."""
    write_dead(mix.walk.harness.root("source"), "older", good=False)
    mix.walk.harness.submit(dead_document(FAILED, "older"))
    mix.walk.harness.until_ended(FAILED)


def _replay_as_older(mix: Mix) -> None:
    write_dead(mix.walk.harness.root("source"), "older", good=True)
    replay(mix, "older", FAILED)
    mix.walk.harness.until(lambda: is_done(mix, FAILED), f"{mix}: {FAILED} replayed")
    mix.judge(FAILED)


def _begin_what_older_may_not_know(mix: Mix) -> None:
    """A batch with each trait is under way when everything goes back to the older build."""
    for name in mix.walk.names("workers"):
        mix.walk.stop(name)
    for trait in mix.asked:
        batch = f"halfway-{trait.name}"
        mix.walk.harness.submit(trait.document(batch))
        mix.walk.harness.until(partial(is_known, mix, batch), f"{mix}: {batch}")


def _ask_to_erase_while_stopped(mix: Mix) -> None:
    """The older coordinator gets a command that it may not know."""
    mix.walk.stop("coordinator")
    with open_channel(mix.walk.harness.settings) as channel:
        republish(channel, OutgoingMessage(CONTROL, Command(action="erase", batch=ERASED).to_bytes()))


def _see_erased(mix: Mix) -> None:
    """A coordinator that did not know the command has kept it: replayed, it is carried out."""
    letters = [str(each.number) for each in mix.walk.harness.client.letters()]
    if bool(letters) == mix.pair.known["older"].erases:
        mix.wrong(f"letters after the way back: {letters}")
    for number in letters:
        mix.run("newer", "dead", "replay", "--letter", number)
    mix.walk.harness.until(partial(mix.is_gone, ERASED), f"{mix}: {ERASED} is gone")


def account(mix: Mix) -> Account:
    """What the coordinator says of everything that has come to its end; lists that it does not have are left out."""
    found: Account = {}
    for path, (name, keys) in LISTS.items():
        answer = web.get(f"{mix.walk.harness.client.url}{path}", params={"limit": 500}, timeout=60)
        if answer.status_code != 200:
            continue
        entries = [each for each in answer.json()[name] if path != BATCHES or each["state"] in TERMINAL]
        found[path] = {tuple(each[key] for key in keys): each for each in entries}
    return found


def differences(before: Account, after: Account) -> Iterable[str]:
    """What both lists have and say differently, or the later one has lost."""
    for path in before.keys() & after.keys():
        for key, entry in before[path].items():
            now = after[path].get(key)
            if now is None:
                yield f"{path}: {key} is no more"
                continue
            changed = {
                name: (entry[name], now[name])
                for name in (entry.keys() & now.keys()) - MOVING
                if entry[name] != now[name]
            }
            if changed:
                yield f"{path}: {key}: {json.dumps(changed)}"
