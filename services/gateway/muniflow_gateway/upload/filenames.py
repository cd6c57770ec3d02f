"""Names of uploaded files: labels for people, never paths."""

import unicodedata

from muniflow.model.keys import stem_of

MAX_LABEL_BYTES = 160
"""Leaves room for a tile's number, an extension and a temporary name in the 255 bytes of a file name."""
UNNAMED = "image"
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Parts of words in Persian and Hindi, and of emoji."""
_FORBIDDEN = frozenset('/\\:*?"<>|')


def safe_label(filename: str | None) -> str:
    r"""A file name that is safe on every store and every system, as near to the client's as can be.

    Only what follows the last `/` or `\\` counts. Control characters, what turns the order of characters round and what
    Windows forbids become `_`, spaces of any kind one space; leading dots and dashes go, so that nothing is hidden or
    looks like an option.
    """
    text = (filename or "").replace("\\", "/").rpartition("/")[2]
    text = unicodedata.normalize("NFC", text)
    text = "".join("_" if char in _FORBIDDEN or _is_unseen(char) else char for char in text)
    text = " ".join(text.split()).lstrip(".-~ ").rstrip(". ")
    return _shortened(text) or UNNAMED


def _is_unseen(char: str) -> bool:
    return unicodedata.category(char) in _UNSEEN and char not in _JOINERS


def _shortened(text: str) -> str:
    """At most `MAX_LABEL_BYTES` bytes of UTF-8, cut before the extension."""
    text = text.encode(errors="replace").decode()
    if len(text.encode()) <= MAX_LABEL_BYTES:
        return text
    stem = stem_of(text)
    extension = text[len(stem) :]
    if len(extension.encode()) > MAX_LABEL_BYTES // 8:
        stem, extension = text, ""
    room = MAX_LABEL_BYTES - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + extension


class Labels:
    """Gives every file of a request a name of its own.

    Outputs are named by the stem, so `a.jpg` and `a.png` are equal here, and so are `A.jpg` and `a.jpg`: not every file
    system tells them apart. The second `a.jpg` becomes `a_2.jpg`.
    """

    def __init__(self) -> None:
        """Nothing is taken yet."""
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, filename: str | None) -> str:
        """The name for a file that calls itself `filename`."""
        label = safe_label(filename)
        stem = stem_of(label)
        extension = label[len(stem) :]
        name = stem
        while name.casefold() in self._taken:
            # Counted on for each stem, so that ten thousand equal names do not take a quadratic time.
            number = self._next.get(stem.casefold(), 2)
            self._next[stem.casefold()] = number + 1
            name = f"{stem}_{number}"
        self._taken.add(name.casefold())
        return name + extension
