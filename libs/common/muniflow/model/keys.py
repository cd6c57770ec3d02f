"""Keys of blobs: what a user may name, and where muniflow itself puts things."""

import re

from muniflow.model.lineage import Lineage, label

MAX_KEY_BYTES = 1024
"""The limit of S3, GCS and Azure."""
MAX_PART_BYTES = 255
"""The limit of a file name on a local volume."""
REPORT = "report.json"
UPLOADS = ".muniflow/uploads"
"""Where the gateway puts the images that are sent to it, in the source store."""
ATTEMPT = "+"
"""In the name of such a folder, between the id of its batch, which cannot hold it, and what tells requests apart."""
CHECKS = ".muniflow-check"
"""Where a store is tried out."""
_OWN = (f"{UPLOADS}/", f"{CHECKS}/")
"""The hidden folders in which muniflow itself keeps blobs. Users cannot name them."""
HIDDEN = "a part of a key cannot begin with '.': hidden files are never read or written"
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}/)*[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
"""What most keys look like: with nothing to complain of, told in one step."""


def key_problem(key: str) -> str | None:
    """What is wrong with a key that a user gave, or `None`.

    A key is a relative path with `/`; it cannot leave its root, name what is hidden, hide a NUL or be mistaken for
    another.
    """
    if len(key) <= MAX_KEY_BYTES and _PLAIN.fullmatch(key):
        return None
    if not key:
        return "a key cannot be empty"
    if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        return f"a key has at most {MAX_KEY_BYTES} bytes"
    if key.startswith("/"):
        return "a key is relative to its root and cannot start with '/'"
    if "\\" in key:
        return "a key separates folders with '/', not '\\'"
    if not key.isprintable():
        return "a key cannot hold control characters"
    if any(part in {"", ".", ".."} for part in key.split("/")):
        return "a key cannot hold empty parts, '.' or '..': nothing outside its root can be named"
    if is_hidden(key):
        return HIDDEN
    if any(len(part.encode()) > MAX_PART_BYTES for part in key.split("/")):
        return f"a part of a key has at most {MAX_PART_BYTES} bytes"
    return None


def stored_key_problem(key: str) -> str | None:
    """The same for a key that muniflow itself made: it may lie in one of the hidden folders that are its own."""
    own = next((folder for folder in _OWN if key.startswith(folder)), "")
    return key_problem(key[len(own) :])


def is_hidden(path: str) -> bool:
    """Whether a file or a folder on its way starts with a dot."""
    return path.startswith(".") or "/." in path


def upload_folder(batch: str) -> str:
    """The folder of the images that were sent with a batch, without a `/` at its end."""
    return f"{UPLOADS}/{batch}"


def is_upload(prefix: str, batch: str) -> bool:
    """Whether a prefix is a folder of images that were sent with this batch."""
    folder, _, attempt = prefix.removesuffix("/").partition(ATTEMPT)
    return prefix.endswith("/") and folder == upload_folder(batch) and (not attempt or attempt.isalnum())


def stem_of(key: str) -> str:
    """The name of an image without its extension, with its folders: `north/a.jpg` → `north/a`."""
    folder, slash, name = key.rpartition("/")
    head, dot, _ = name.rpartition(".")
    return f"{folder}{slash}{head if dot and head else name}"


def work_prefix(batch: str, image: int | None = None) -> str:
    """Prefix of the intermediates of an image, or of a whole batch; ends in `/`."""
    # Hundreds of thousands of entries in one folder are slow to list, so images are grouped by the thousand.
    return f"{batch}/" if image is None else f"{batch}/{image // 1000}/{image}/"


def intermediate_key(batch: str, image: int, run: int, step: int, lineage: Lineage) -> str:
    """The deterministic key of the raw pixels that step `step` made."""
    return f"{work_prefix(batch, image)}{run}-{step}-{label(lineage)}.raw"


def output_key(destination: str, name: str) -> str:
    """The key of an output or of the report in the output store."""
    return f"{destination}/{name}"
