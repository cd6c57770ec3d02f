"""Settings of object storage that `obstore` does not take from the environment by itself: credentials in files."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from muniflow.errors import Fault, Invalid
from muniflow.runtime.secret_files import SECRETS_DIR, read_secrets, with_secrets

KEY_ID, KEY, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_IN_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": (KEY_ID, KEY, TOKEN, "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": (
        *(f"AZURE_STORAGE_{name}" for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "ACCESS_KEY", "SAS_KEY", "SAS_TOKEN")),
        *(f"AZURE_{kind}{name}" for kind in ("", "STORAGE_") for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT_ID")),
    ),
}
"""Names that may be in files. `obstore` panics at some others, so they stay variables."""
_PREFIX: Final = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_OTHERWISE: Final = (KEY_ID, KEY, TOKEN, "AWS_ALLOW_HTTP")
"""Names that `obstore` is not told as configuration."""
READ_AGAIN: Final = timedelta(minutes=1)
"""So long keys of S3 are used before their files are read again. What is read of others counts until a restart."""


def from_files(scheme: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `obstore.store.from_url` that say what the files of `MUNIFLOW_SECRETS_DIR` do.

    Raises:
        Invalid: a file cannot be read, or is of a setting that may not be in one.
    """
    if scheme not in _PREFIX or not env.get(SECRETS_DIR):
        return {}
    folder = Path(env[SECRETS_DIR])
    found = {name: value for name, value in read_secrets(folder).items() if name.startswith(_PREFIX[scheme])}
    if others := sorted(found.keys() - set(_IN_FILES[scheme])):
        allowed = ", ".join(_IN_FILES[scheme])
        raise Invalid(
            tuple(Fault(str(folder / name), f"make it a variable; in files are {allowed}") for name in others)
        )
    arguments: dict[str, Any] = {}
    if found.keys() >= {KEY_ID, KEY}:
        arguments["credential_provider"] = lambda: _s3_credential(folder)
    if config := {name.lower(): value for name, value in found.items() if name not in _OTHERWISE}:
        arguments["config"] = config
    return arguments


def allow_http(scheme: str, env: Mapping[str, str]) -> bool:
    """Whether a server without TLS may be used. Options given in code hide the variable from `obstore`."""
    return with_secrets(env).get(f"{_PREFIX.get(scheme)}ALLOW_HTTP", "").lower() in {"1", "true", "yes", "on"}


def _s3_credential(folder: Path) -> dict[str, Any]:
    """The key of S3, as its files have it now."""
    found = read_secrets(folder)
    return {
        "access_key_id": found[KEY_ID],
        "secret_access_key": found[KEY],
        "token": found.get(TOKEN),
        "expires_at": datetime.now(UTC) + READ_AGAIN,
    }
