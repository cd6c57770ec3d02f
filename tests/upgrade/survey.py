"""All mixes of two builds, one after the other, on one stack."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.support.hooks import receiving
from tests.upgrade.builds import Build
from tests.upgrade.command_line import command_line
from tests.upgrade.known import OWNERS, knowledge_of, traits, write_pictures
from tests.upgrade.mixes import Mix, Pair, gray
from tests.upgrade.visit import know_all, visit
from tests.upgrade.walk import Place, walking

from muniflow.runtime.settings import variable

PROCESSES = ("coordinator", "gateway", "resize-1", "split-1", "blur-1", "blur-2")
"""The first is replaced at every second mix, the last one twice."""
MIXES: tuple[frozenset[str], ...] = tuple(gray(PROCESSES))
SHARED = ("plain", "metadata", "checksums", "alpha")
"""What the batches that keep the stack busy ask for, where both builds know it."""


@contextmanager
def surveying(place: Place, older: Build, newer: Build) -> Iterator[Mix]:
    """A stack for two builds; nothing runs yet."""
    with ExitStack() as stack:
        hooks = stack.enter_context(receiving())
        walk = stack.enter_context(walking(place, hooks.variables(place.folder / "hooks")))
        source, asked = walk.harness.root("source"), traits(hooks.url)
        write_pictures(source)
        own = walk.harness.environment() | {
            variable("coordinator_url"): f"http://127.0.0.1:{walk.harness.coordinator.port}"
        }
        cli = {
            age: stack.enter_context(command_line(build, place.folder / age, own))
            for age, build in zip(("older", "newer"), (older, newer), strict=True)
        }
        known = {age: knowledge_of(each, asked, source) for age, each in cli.items()}
        mix = Mix(walk, Pair(older, newer, known, cli), asked, hooks)
        if mix.pair.both.has_owners:
            mix.owners = tuple(walk.key(owner, owner=owner) for owner in OWNERS)
        shared = [trait for trait in asked if trait.name in SHARED and trait.name in mix.pair.both.traits]
        walk.extras = [trait.fields for trait in shared]
        walk.know_from(cli["newer"])
        know_all(mix)
        yield mix


def survey(mix: Mix, numbers: Sequence[int]) -> None:
    """Go through these mixes."""
    for number in numbers:
        mix.enter(number, MIXES[number])
        visit(mix)
    settle(mix)


def settle(mix: Mix) -> None:
    """Wait for the end of all batches under way and for their webhooks, and judge them."""
    harness, walk = mix.walk.harness, mix.walk
    harness.until_ended(*walk.sent)
    found = harness.guarantees(*walk.sent)
    mix.guarantees += found
    mix.batches += len(walk.sent)
    if not found.clean:
        mix.wrong(f"batches under way: {found}")
    walk.sent.clear()
    if "callback" in mix.known("coordinator").traits:
        harness.until(lambda: mix.expected_hooks <= set(mix.hooks.subjects), f"{mix}: webhooks")
    harness.until_clean()
