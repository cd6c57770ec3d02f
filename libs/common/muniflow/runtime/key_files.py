"""The two files of keys: the private one of the coordinator, and the public one of its workers that follows from it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from muniflow.errors import Fault, Invalid
from muniflow.runtime.clock import Clock
from muniflow.runtime.followed_file import FollowedFile
from muniflow.runtime.settings import GrantSettings, variable
from muniflow.runtime.signing import (
    SigningKey,
    new_signing_key,
    read_signing_keys,
    write_signing_key,
    write_verify_key,
)
from muniflow.runtime.whole_text import write_text_whole

Keys = TypeVar("Keys")


def followed_keys(
    settings: GrantSettings, field: str, read: Callable[[bytes], Keys], clock: Clock
) -> FollowedFile[Keys] | None:
    """The keys of the file that a setting names; `None` where it names none.

    Raises:
        Invalid: they cannot be read; or there are none, and what is not signed is to be refused.
    """
    path: str | None = getattr(settings, field)
    if path is not None:
        return FollowedFile(variable(field), Path(path), read, clock)
    if settings.unsigned_tasks == "refuse":
        raise Invalid((Fault(variable(field), f"name a file of keys: {variable('unsigned_tasks')} is `refuse`"),))
    return None


def keys_in(signing: Path) -> tuple[SigningKey, ...]:
    """The keys of a file, the one that signs first; none when it is not there.

    Raises:
        Invalid: it cannot be read.
    """
    try:
        return read_signing_keys(signing.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise Invalid((Fault(str(signing), f"no signing keys: {error}"),)) from None


def rotate_keys(signing: Path, verify: Path) -> str:
    """Make a key that signs from now on; those before it go on to verify. Returns its id.

    Raises:
        Invalid: the keys that are there cannot be read.
    """
    keys = (new_signing_key(), *keys_in(signing))
    _write_verify(verify, keys)  # before anything is signed with it
    _write_signing(signing, keys)
    return keys[0].id


def drop_key(signing: Path, verify: Path, key_id: str) -> None:
    """Remove a key; what it has signed is refused from now on.

    Raises:
        Invalid: there is no such key, or it is the one that signs.
    """
    keys = keys_in(signing)
    left = tuple(key for key in keys if key.id != key_id)
    if len(left) == len(keys):
        known = ", ".join(key.id for key in keys) or "none"
        raise Invalid((Fault("key", f"there is no key {key_id!r}; there are: {known}"),))
    if key_id == keys[0].id:
        raise Invalid((Fault("key", f"{key_id} signs; rotate first, and drop it when its batches have ended"),))
    _write_signing(signing, left)
    _write_verify(verify, left)


def _write_signing(path: Path, keys: Sequence[SigningKey]) -> None:
    write_text_whole(path, "".join(map(write_signing_key, keys)))


def _write_verify(path: Path, keys: Sequence[SigningKey]) -> None:
    write_text_whole(path, "".join(write_verify_key(key.private.public_key()) for key in keys), 0o644)
