"""In which language a person reads the page, and the texts of each language."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from fastapi import Request

LANGUAGES = ("en", "nl", "de", "fr")
"""Each has its texts in `texts/<language>.json`. The first one is for browsers that ask for none of them."""
COOKIE = "language"
"""The choice made on the page. A cookie, since `/static/` has no script that could read another memory."""
Texts = Mapping[str, str | Mapping[str, str]]
"""Texts by key; where the form depends on a number, by plural category (CLDR)."""


def language_of(request: Request) -> str:
    """The language that was chosen, or the best one of the browser's."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def preferred(accept_language: str) -> str:
    """The language that a header `Accept-Language` (RFC 9110) likes most."""
    best, weight = LANGUAGES[0], 0.0
    for entry in accept_language.split(","):
        tag, _, parameter = entry.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameter)
        if language in LANGUAGES and quality > weight:
            best, weight = language, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        return float(value) if name.strip().lower() == "q" else 0.0
    except ValueError:
        return 0.0


@lru_cache(maxsize=len(LANGUAGES))
def texts_of(language: str) -> Texts:
    """The texts of one of `LANGUAGES`."""
    found: Texts = json.loads((files("muniflow_gateway") / "page" / "texts" / f"{language}.json").read_bytes())
    return found


def text(language: str, key: str) -> str:
    """A text that does not depend on a number."""
    return str(texts_of(language)[key])
