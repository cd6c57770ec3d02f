"""Owners: who sent a batch, what its turns go by, who may see it, and what it may read. Pure.

An owner is a municipality or a team. API keys name theirs; over AMQP it is the user of the broker.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

from muniflow.errors import Fault, Invalid

DEFAULT_OWNER: Final = "default"
"""Of batches whose sender names none, and of API keys that were made before there were owners."""
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_@-]{0,79}")
"""Without a `.`, which separates the words of a routing key."""
OWNER_HEADER: Final = "muniflow-owner"
"""The owner for whom the gateway sends a message; from any other user of the broker it counts for nothing."""
Scope = Literal["submit", "read", "operate", "urgent", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""`submit` batches; `read` batches and outputs; `operate`: cancel and replay; `urgent`: the priority `high` and
deadlines; `admin`: the batches of every owner."""
USUAL_SCOPES: tuple[Scope, ...] = ("submit", "read", "operate", "urgent")
"""Of a key that names none."""
Grants = Mapping[str, tuple[str, ...]]
"""Prefixes of the source store that each owner may read, each empty or with a `/` at its end."""
DERIVED_ID = re.compile(r"batch-[0-9a-f]{16}|key-[0-9a-f]{32}|[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
"""Ids that muniflow makes: from the content of a batch, from an `Idempotency-Key`, and for an upload."""


def owner_problem(owner: str) -> str | None:
    """What is wrong with the name of an owner, or `None`."""
    if OWNER.fullmatch(owner):
        return None
    return f"{owner[:80]!r} is no owner: 1 to 80 letters, digits, '_', '@' or '-', starting with a letter or digit"


def read_grants(given: Mapping[str, list[str]], place: str) -> Grants:
    """Check who may read what.

    Raises:
        Invalid: naming `place` and the owner.
    """
    faults = [Fault(place, problem) for owner in given if (problem := owner_problem(owner))]
    faults += [
        Fault(f"{place}.{owner}", f"{prefix!r}: write a prefix such as 'utrecht/', or '' for everything")
        for owner, prefixes in given.items()
        for prefix in prefixes
        if prefix and (not prefix.endswith("/") or prefix.startswith(("/", ".")))
    ]
    if faults:
        raise Invalid(tuple(faults))
    return {owner: tuple(prefixes) for owner, prefixes in given.items()}


def granted(owner: str, grants: Grants) -> tuple[str, ...]:
    """The prefixes of the source store that an owner may read: those granted, else `<owner>/`, and `default` all."""
    return grants.get(owner, ("",) if owner == DEFAULT_OWNER else (f"{owner}/",))


def source_faults(
    owner: str, source: str, images: tuple[str, ...] | None, grants: Grants, manifest: str | None = None
) -> tuple[Fault, ...]:
    """What is wrong with where a batch reads.

    Args:
        owner: whose batch it is.
        source: prefix of every key; empty or ending in `/`.
        images: keys below it; `None` where they come from a manifest or a list.
        grants: of all owners.
        manifest: the key of its list, which its faults would quote.
    """
    prefixes = granted(owner, grants)
    allowed = ", ".join(map(repr, prefixes)) or "nothing but what it uploads"
    problem = f"not granted to the owner {owner!r}, who may read {allowed}"
    listed = () if manifest is None or manifest.startswith(prefixes) else (Fault("manifest", problem),)
    if source.startswith(prefixes):
        return listed
    if images is None:
        return (Fault("source", problem), *listed)
    return tuple(
        Fault(f"images[{number}]", problem)
        for number, key in enumerate(images)
        if not f"{source}{key}".startswith(prefixes)
    )[:1]


def id_fault(batch_id: str, own: str) -> Fault | None:
    """Why a batch may not have the id that its document names, or `None`.

    Args:
        batch_id: of the batch.
        own: the id that muniflow derives for this batch.
    """
    if batch_id == own or not DERIVED_ID.fullmatch(batch_id):
        return None
    return Fault("batch_id", "ids of this form are made by muniflow alone; choose another one, or leave it out")
