"""Keys of blobs: what a user may name, and where muniflow itself puts things."""

import re

from muniflow.model.lineage import Lineage, label

MAX_KEY_BYTES = 1024
"""The limit of S3, GCS and Azure."""
MAX_PART_BYTES = 255
"""The limit of a file name on a local volume."""
REPORT = "report.json"
SHARE_REPORT = re.compile(r"report-[0-9]+-of-[0-9]+\.json")
"""The names that `share_report_name` gives."""
_REVISION_REPORT = "report-r{}.json"
UPLOADS = ".muniflow/uploads"
"""Where the gateway puts the images that are sent to it, in the source store."""
ATTEMPT = "+"
"""In the name of such a folder, between the id of its batch, which cannot hold it, and what tells requests apart."""
CHECKS = ".muniflow-check"
"""Where `Store.check` writes."""
_OWN = (f"{UPLOADS}/", f"{CHECKS}/")
"""The hidden folders in which muniflow itself keeps blobs. Users cannot name them."""
HIDDEN = "a part of a key cannot begin with '.': hidden files are never read or written"
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}/)*[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
"""What most keys look like: with nothing to complain of, told in one step."""


_UNHELD = re.compile("[\0\ud800-\udfff]")
"""What no store can hold: NUL, and halves of characters, which are not UTF-8."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def place_problem(key: str) -> str | None:
    r"""What is wrong with a key that a person types (a source, destination or manifest), or `None`.

    Stricter than `key_problem`: there, a control character or a `\` is a mistake.
    """
    if "\\" in key:
        return "a key separates folders with '/', not '\\'"
    if _CONTROLS.search(key):
        return "a key cannot hold control characters"
    return key_problem(key)


def key_problem(key: str) -> str | None:
    """What is wrong with a key that a user gave, or `None`.

    A key is a relative path with `/`; it cannot leave its root, name what is hidden or hold what no store can hold.
    Images are named by cameras, phones and people of all languages: every other character is allowed, a line end too.
    """
    if len(key) <= MAX_KEY_BYTES and _PLAIN.fullmatch(key):
        return None
    if not key:
        return "a key cannot be empty"
    if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        return f"a key has at most {MAX_KEY_BYTES} bytes"
    if key.startswith("/"):
        return "a key is relative to its root and cannot start with '/'"
    if _UNHELD.search(key):
        return "a key cannot hold a NUL or what is not UTF-8"
    if any(part in {"", ".", ".."} for part in key.split("/")):
        return "a key cannot hold empty parts, '.' or '..': nothing outside its root can be named"
    if is_hidden(key):
        return HIDDEN
    if any(len(part.encode()) > MAX_PART_BYTES for part in key.split("/")):
        return f"a part of a key has at most {MAX_PART_BYTES} bytes"
    return None


def stored_key_problem(key: str) -> str | None:
    """The same for a key that muniflow itself made: it may lie in one of the hidden folders that are its own."""
    if not key.startswith(_OWN):
        return key_problem(key)
    own = next(folder for folder in _OWN if key.startswith(folder))
    return key_problem(key[len(own) :])


def is_hidden(path: str) -> bool:
    """Whether a file or a folder on its way starts with a dot."""
    return path.startswith(".") or "/." in path


def upload_folder(batch: str, uploads: str = UPLOADS, attempt: str = "") -> str:
    """Prefix of the images that were sent with a batch; ends in `/`.

    Args:
        batch: its id.
        uploads: the folder of all uploads.
        attempt: letters and digits that tell requests of one batch apart, so that each removes only its own images.
    """
    return f"{uploads}/{batch}{ATTEMPT if attempt else ''}{attempt}/"


def as_prefix(source: str | None) -> str:
    """The prefix of keys that a `source` means: empty, or with a `/` at its end."""
    stripped = (source or "").strip("/")
    return f"{stripped}/" if stripped else ""


def is_upload(prefix: str, batch: str) -> bool:
    """Whether a prefix is a folder of images that were sent with this batch."""
    attempt = prefix.removesuffix("/").partition(ATTEMPT)[2]
    return prefix == upload_folder(batch, attempt=attempt) and (not attempt or attempt.isalnum())


def stem_of(key: str) -> str:
    """The name of an image without its extension, with its folders: `north/a.jpg` → `north/a`."""
    folder, slash, name = key.rpartition("/")
    head, dot, _ = name.rpartition(".")
    return f"{folder}{slash}{head if dot and head else name}"


def work_prefix(batch: str, image: int | None = None) -> str:
    """Prefix of the intermediates of an image, or of a whole batch; ends in `/`."""
    # Hundreds of thousands of entries in one folder are slow to list, so images are grouped by the thousand.
    return f"{batch}/" if image is None else f"{batch}/{image // 1000}/{image}/"


def intermediate_key(batch: str, image: int, run: int, step: int, lineage: Lineage, *, mark: str = "") -> str:
    """The deterministic key of the raw pixels that step `step` made.

    `mark` (`Task.mark`) keeps it from whoever has no task of the batch, here and below.
    """
    return f"{work_prefix(batch, image)}{run}-{step}-{label(lineage)}{mark}.raw"


def profile_key(batch: str, image: int, run: int, *, mark: str = "") -> str:
    """The key of the ICC profile of a source, beside its intermediates, for the process that encodes."""
    return f"{work_prefix(batch, image)}{run}{mark}.icc"


def metadata_key(batch: str, image: int, run: int, *, mark: str = "") -> str:
    """The key of what outputs keep of the metadata of a source, in the same place."""
    return f"{work_prefix(batch, image)}{run}{mark}.meta"


def share_report_name(number: int, of: int) -> str:
    """The name of the report of one share of a batch, beside which those of the other shares stay."""
    return f"report-{number}-of-{of}.json"


def output_key(destination: str, name: str) -> str:
    """The key of an output or of the report in the output store."""
    return f"{destination}/{name}"


def revision_report_name(revision: int) -> str:
    """The name under which the report of an earlier run of a batch is kept."""
    return _REVISION_REPORT.format(revision)
