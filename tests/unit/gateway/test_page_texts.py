"""The texts of the page: every key in every language, with the same placeholders; none in HTML or JavaScript."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from muniflow.model.messages import TERMINAL, BatchState, ImageState
from muniflow.model.operation import installed_operations
from muniflow.reason_codes import REASONS as IMAGE_REASONS
from muniflow_gateway.page.language import LANGUAGES, preferred, texts_of
from muniflow_gateway.page.routes import read_page_file
from muniflow_gateway.problems import REASONS as PROBLEM_REASONS

PAGE = Path(str(files("muniflow_gateway") / "page"))
SCRIPTS = {path.name: path.read_text() for path in sorted(PAGE.glob("*.js"))}
HTML = (PAGE / "index.html").read_text()
FILLED = {"lang", "languages", "modules", "texts"}
"""Places in index.html that are no key."""
CATEGORIES = {"one", "other"}
"""Plural categories of all four languages; French has `many`, too, for millions, and means `other`."""
SAME = {
    "page.title", "page.api", "route.title", "batch.route", "pipeline.span", "pipeline.workers", "stage.workers",
    "batch.titleOf", "batch.said", "viewer.keyEscape", "form.name", "form.chosen", "form.standard", "route.standard",
    "batch.images", "batch.rate", "batch.imagesTitle", "viewer.original", "viewer.keyImage",
}  # fmt: skip
"""May be the same in two languages."""


def forms(text: Any) -> dict[str, str]:
    return text if isinstance(text, dict) else {"": text}


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def used_keys() -> set[str]:
    """Keys that scripts, listing and HTML name; `t(`a.${b}`)` names all below `a.`."""
    areas = "|".join(sorted({key.partition(".")[0] for key in texts_of("en") if "." in key}))
    listing = (PAGE.parent / "routes" / "static.py").read_text()
    named = {key for text in [*SCRIPTS.values(), listing] for key in re.findall(rf'"((?:{areas})\.[\w.]+)"', text)}
    named |= set(re.findall(r"\{\{([\w.]+)\}\}", HTML)) - FILLED
    parts = [part for text in SCRIPTS.values() for part in re.findall(r"t\(`([\w.]+)\$\{", text)]
    parts += [f"{area}." for text in SCRIPTS.values() for area in re.findall(r'known\("(\w+)", ', text)]
    return named | {key for key in texts_of("en") for part in parts if key.startswith(part)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_key_with_the_same_placeholders(language):
    first, here = texts_of("en"), texts_of(language)
    assert list(here) == list(first)
    for key, text in here.items():
        assert set(forms(text)) == set(forms(first[key])), key
        assert set(forms(text)) <= CATEGORIES or not isinstance(text, dict), key
        for form, words in forms(text).items():
            assert words.strip() == words != "", key
            assert placeholders(words) == placeholders(forms(first[key])[form]), key


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_text_is_left_in_english(language):
    english, here = texts_of("en"), texts_of(language)
    assert {key for key in here if here[key] == english[key]} - SAME == set()


def test_every_key_that_is_used_is_there_and_every_one_that_is_there_is_used():
    assert used_keys() - set(texts_of("en")) == set()
    assert set(texts_of("en")) - used_keys() == {"language"}


@pytest.mark.parametrize(("area", "codes"), [
    ("reason", set(IMAGE_REASONS)),
    ("problem", set(PROBLEM_REASONS) | {"other", "lost", "silent", "stage"}),
    ("state", set(get_args(BatchState)) | set(get_args(ImageState)) | set(TERMINAL)),
])  # fmt: skip
def test_every_code_that_the_api_answers_has_a_text(area, codes):
    texts = {key.removeprefix(f"{area}.") for key in texts_of("en") if key.startswith(f"{area}.")}
    assert texts == codes


def test_every_operation_of_this_build_has_a_name_and_a_summary():
    for name in ("resize", "split", "blur"):
        assert name in installed_operations()
        assert {f"operation.{name}", f"operation.{name}.summary"} <= set(texts_of("en"))


def texts_in(script: str) -> list[str]:
    """What reads as a text: words with a space between them, or one that begins as a sentence does."""
    code = re.sub(r"^\s*//.*$|(?<=[;,{)]) // .*$", "", script, flags=re.MULTILINE)
    code = re.sub(r'class(?:Name)?(?::| =) (?:[\w.]+ \? "[^"]*" : )?(?:"[^"]*"|`[^`]*`)', "", code)
    literals = re.findall(r'"((?:[^"\\\n]|\\.)*)"|`([^`]*)`', code)
    found = [re.sub(r"\$\{[^}]*\}", " … ", plain or template) for plain, template in literals]
    return [text for text in found if re.search(r"[A-Za-z]{3,} [a-z]{2,}|^[A-Z][a-z]+$", text) and text not in PROTOCOL]


PROTOCOL = {"no consumer: ", "Accept", "Files"}
"""What the API and the browser say."""


def test_no_text_is_written_into_a_script():
    assert {name: found for name, script in SCRIPTS.items() if (found := texts_in(script))} == {}


@pytest.mark.parametrize(
    "script", ['h("p", {}, "None now.")', 'const a = ["Pipeline"];', "setText(x, `${n} files skipped`)"]
)
def test_a_text_in_a_script_is_seen(script):
    assert texts_in(script)


def test_no_text_is_written_into_html():
    body = re.sub(r"<(script|code)\b.*?</\1>", "", HTML.partition("<body>")[2])
    assert [
        text for text in re.findall(r">([^<>]*\w[^<>]*)<", body) if not re.fullmatch(r"\s*\{\{[\w.]+\}\}\s*", text)
    ] == []
    labels = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]+)"', body)
    assert [label for label in labels if not re.fullmatch(r"\{\{[\w.]+\}\}", label)] == []
    styles = "".join(path.read_text() for path in PAGE.glob("*.css"))
    assert re.findall(r'content: "(?:[^"]*[A-Za-z][^"]*)"', styles) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_filled_in_each_language(language):
    found = read_page_file("index.html", language)
    assert found is not None
    body = found.body.decode()
    assert f'<html lang="{language}">' in body
    assert "{{" not in body
    block = re.search(r'<script type="application/json" id="texts">(.*?)</script>', body)
    assert block is not None
    assert json.loads(block[1]) == texts_of(language)


@pytest.mark.parametrize(("header", "language"), [
    ("", "en"),
    ("nl-NL,nl;q=0.9,en;q=0.8", "nl"),
    ("es, de-CH;q=0.5, en;q=0.3", "de"),
    ("pt", "en"),
    ("en;q=0.2, fr;q=0.7", "fr"),
    ("fr;q=0, nl;q=0.1", "nl"),
    ("de;q=x;;,", "en"),
    ("FR-be", "fr"),
])  # fmt: skip
def test_the_language_that_the_browser_likes_most(header, language):
    assert preferred(header) == language


def test_a_text_may_not_end_the_script_element():
    found = read_page_file("index.html", "en")
    assert found is not None
    inside = found.body.decode().partition('id="texts">')[2].partition("</script>")[0]
    assert "<" not in inside
