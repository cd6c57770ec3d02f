"""API keys: made once, shown once, kept as hashes in a file.

A key is 256 random bits, so its SHA-256 cannot be searched for and needs no slow password hash.
"""

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from muniflow.errors import Fault, Invalid
from muniflow.model.audit import AuditAction
from muniflow.model.batch import faults_of
from muniflow.model.owners import DEFAULT_OWNER, USUAL_SCOPES, Scope, owner_problem
from muniflow.runtime.followed_file import stamp_of
from muniflow.runtime.whole_text import write_text_whole

PREFIX = "muniflow_"
"""What a key starts with, so that scanners for leaked secrets know it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}")
MAKE_ONE = "make one: `python -m muniflow_gateway keys make NAME`"
CHECK_S = 1.0
"""How often the file is looked at."""

log = logging.getLogger(__name__)


class ApiKey(BaseModel):
    """One key, without the key itself. Limits that are not set are those of the gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created_at: float = 0.0
    owner: str = DEFAULT_OWNER
    """Whose batches it sends and sees."""
    scopes: tuple[Scope, ...] = USUAL_SCOPES
    expires_at: float | None = None
    """Unix time, seconds: from then on it is not served."""
    requests_per_minute: int | None = Field(None, ge=1)
    mebibytes_per_hour: int | None = Field(None, ge=1)
    megapixels_per_hour: int | None = Field(None, ge=1)
    """Deprecated: pixels are a budget of its owner."""

    @field_validator("owner")
    @classmethod
    def _is_owner(cls, owner: str) -> str:
        if problem := owner_problem(owner):
            raise ValueError(problem)
        return owner


def digest(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file; none when it is not there.

    Raises:
        Invalid: it cannot be read, or a line is not a key.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise Invalid((Fault(str(path), f"the API keys cannot be read: {error.strerror or error}"),)) from None
    except UnicodeDecodeError:
        raise Invalid((Fault(str(path), "not a file of API keys"),)) from None
    keys = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                keys.append(ApiKey.model_validate_json(line))
            except ValidationError:
                text = "not an API key; make them with `python -m muniflow_gateway keys make NAME`"
                raise Invalid((Fault(f"{path} line {number}", text),)) from None
    return tuple(keys)


def write_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Write them whole or not at all, readable by their owner only.

    Only what differs from the defaults is written: a gateway of an earlier build reads a key that uses nothing new.
    """
    write_text_whole(path, "".join(key.model_dump_json(exclude_defaults=True) + "\n" for key in keys))


def make_key(path: Path, name: str, given: Mapping[str, Any] | None = None) -> str:
    """Add a key; returns the key itself, which is kept nowhere.

    `given` are other fields of `ApiKey`: its limits, its owner.

    Raises:
        Invalid: the name is taken, or is not a name.
    """
    keys = read_keys(path)
    if not NAME.fullmatch(name):
        raise Invalid((Fault("name", "1 to 80 letters, digits, '.', '_', '@' or '-', starting with one of the first"),))
    if any(key.name == name for key in keys):
        raise Invalid((Fault("name", f"{name} has a key already; revoke it first, or take another name"),))
    secret = PREFIX + secrets.token_urlsafe(32)
    made = {"name": name, "sha256": digest(secret), "created_at": round(time.time())}
    try:
        key = ApiKey.model_validate({**(given or {}), **made})
    except ValidationError as error:
        raise Invalid(tuple(faults_of(error))) from None
    write_keys(path, (*keys, key))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key.

    Raises:
        Invalid: there is none of this name.
    """
    keys = read_keys(path)
    left = tuple(key for key in keys if key.name != name)
    if len(left) == len(keys):
        known = ", ".join(key.name for key in keys) or "none"
        raise Invalid((Fault("name", f"there is no key {name!r}; there are: {known}"),))
    write_keys(path, left)


KeyChanged = Callable[[AuditAction, ApiKey], None]


class KeyRing:
    """The keys of a file, followed while the gateway runs."""

    def __init__(self, path: Path, on_change: KeyChanged = lambda _action, _key: None) -> None:
        """Read them, and call `on_change` for each key that is there, and for each that comes or goes.

        Raises:
            Invalid: the file cannot be read, or a line of it is not a key.
        """
        self._path = path
        self._stamp = stamp_of(path)
        self._on_change = on_change
        self._keys: dict[str, ApiKey] = {}
        self._take(read_keys(path))
        self._used = self._stamp is not None or bool(self._keys)
        self._looked_s = time.monotonic()

    def __len__(self) -> int:
        self._look()
        return len(self._keys)

    @property
    def used(self) -> bool:
        """Whether the file was there at any time since the start, with keys or without: nobody is served without one.

        So a file that is moved away, or loses its last key, closes the gateway and never opens it.
        """
        self._look()
        return self._used

    def find(self, secret: str) -> ApiKey | None:
        """Whose key this is."""
        self._look()
        return self._keys.get(digest(secret))

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < CHECK_S:
            return
        self._looked_s = now_s
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._used = True
        try:
            self._take(read_keys(self._path))
        except Invalid as error:
            log.error("API keys stay as they were: %s", error)  # noqa: TRY400 - the text says it all
            return
        if self._keys:
            log.info("API keys read again: %d", len(self._keys))
        else:
            log.warning("no API key is left in %s: nobody is served; %s", self._path, MAKE_ONE)

    def _take(self, keys: Iterable[ApiKey]) -> None:
        before, self._keys = self._keys, {key.sha256: key for key in keys}
        for sha256, key in self._keys.items():
            if sha256 not in before:
                self._on_change("key made", key)
        for sha256, key in before.items():
            if sha256 not in self._keys:
                self._on_change("key revoked", key)
