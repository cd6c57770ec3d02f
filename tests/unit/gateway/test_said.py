"""What the gateway says of faults and skipped files is translated: `page/texts/said.<language>.json`.

A text of the sources and a key of these files are the same where each `{…}` stands for any value. A new text that has
no key fails here, and so does a key that no source says.
"""

import ast
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.mutations import mutated
from tests.unit.images import craft

from muniflow.errors import Invalid, Rejected
from muniflow.images.decode import decode
from muniflow.images.opencv import cv2
from muniflow.model.batch import read_batch
from muniflow.model.batch_document import BatchDocument
from muniflow.model.budget import Amounts
from muniflow.model.operation import installed_operations
from muniflow.model.source_formats import OTHER_KINDS
from muniflow_gateway.page.language import LANGUAGES
from muniflow_gateway.page.routes import read_page_file

ROOT = Path(__file__).parents[3]
SAID = {
    language: json.loads((files("muniflow_gateway") / f"page/texts/said.{language}.json").read_text())
    for language in LANGUAGES[1:]
}
"""For every language but English, which is what the gateway says itself."""
CALLS = {
    "Fault": 1, "fault": 1, "image_fault": 1, "_fault": 1, "too_large": 0, "ValueError": 0, "Rejected": 0, "Damaged": 0,
    "Truncated": 0, "unsupported": 0, "NotAllowed": 1, "Problem": 1, "_unauthorized": 0, "damaged": 1, "truncated": 1,
    "take": 4, "Fail": 0, "failed": 0, "Room": 0,
}  # fmt: skip
"""What takes a text for people, and which of its arguments that is."""
COMMON = Path("libs/common/muniflow")
COMPUTE, MODEL, IMAGES, STORE = (COMMON / name for name in ("compute", "model", "images", "store"))
COORDINATOR, GATEWAY = Path("services/coordinator/muniflow_coordinator"), Path("services/gateway/muniflow_gateway")
SOURCES = [
    *(MODEL / f"{name}.py" for name in (
        "batch", "batch_faults", "budget", "callback", "deadline", "keys", "ledger", "output_form", "owners",
        "settlement", "skipped", "source_formats",
    )),
    *(IMAGES / f"{name}.py" for name in (
        "decode", "encode", "fields", "header", "heic", "heif", "hevc", "jpeg", "limits", "mend", "png", "sniff",
        "tiff", "tiff_blocks", "tiff_tags", "webp",
    )),
    *(COMPUTE / f"{name}.py" for name in ("exits", "plans", "raw")),
    *(STORE / f"{name}.py" for name in ("by_content", "checks", "folders", "listing", "objects", "old_outputs")),
    *(COMMON / name for name in ("planning/budgets.py", "worker/held.py", "errors.py")),
    *(Path(f"services/{name}/muniflow_{name}/params.py") for name in ("resize", "split", "blur")),
    *(COORDINATOR / "handlers" / f"{name}.py" for name in (
        "absent", "decode", "image_list", "list_reader", "pricer", "redispatch", "senders", "taken",
    )),
    *(COORDINATOR / name for name in ("webhooks/config.py", "webhooks/policy.py", "state/rejections.py")),
    *(GATEWAY / "upload" / f"{name}.py" for name in ("body", "documents", "multipart", "service")),
    *(GATEWAY / "routes" / f"{name}.py" for name in ("batch_events", "batches", "failures", "pipeline", "plans")),
    *(GATEWAY / f"clients/{name}.py" for name in ("backlog", "broker", "coordinator")),
    *(GATEWAY / f"{name}.py" for name in ("auth/access", "auth/quotas", "auth/rooms", "problems")),
    COORDINATOR / "api/routes.py", STORE / "oserrors.py",
]  # fmt: skip
"""Where faults of batches and forms, and reasons of skipped files and failed images, come from."""
OF_THE_OPERATOR = {
    "{}: write a prefix such as 'utrecht/', or '' for everything",
    "{} is no host: write hooks.example.org or hooks.example.org:8443", "{} is no network: write 10.20.0.0/16",
    "cannot be read: {}",
    "{} holds loopback or link-local addresses, which are never sent to; name what is needed",
    "{}=true: requests of this machine are served without an API key",
    "there is no API key any more, so nobody is served; {}",
    "there is no API key, so nobody is served; {}, or on a machine of your own set {}",
    "there is no API key, so nobody is served; {}, or on a machine of your own set {}=true",
    "without API keys only requests of this machine itself are served: {}; {}",
}  # fmt: skip
"""In a log at start, or of a gateway without keys, which only an operator sees."""
OF_PROGRAMS = {
    "not an idempotency record", "short form", "long form", "manifest line", "manifest line {}",
    "send multipart/form-data, not {}", "the Content-Type of the form has no boundary that could be used",
    "only together with `erase=true`: one image cannot be cancelled", "give it or `replicas`, not both",
    "operations[{}] ({}), tile {}: {}",
    "the batch is {}: an image is erased once it has ended; cancel it, or erase all of it",
    "not a request for the coordinator: {}", "the request has 1 fault", "the request has {} faults",
}  # fmt: skip
"""The page has no part that asks for it, or says it itself."""
OF_A_WEBHOOK = {"{} has no address", "{} is at {}, which is not public and in none of {}"}
"""Of one that was tried."""


WORDS = re.compile(r"[A-Za-z]{2}['\"`]? ['\"`]?[A-Za-z]{2}|[a-z]{2}: |\{\} [a-z]{2}|[a-z]{2} \{\}")
"""What tells a text from values such as names, numbers and lists of them."""


@cache
def patterns() -> list[tuple[str, re.Pattern[str]]]:
    """The keys as the page takes them (`said.js`): the one with most letters first; `{n}` is one word."""

    def pattern(key: str) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", key)
        values = (r"(\S+)" if len(part) == 1 else "(.+?)" for part in parts[1::2])
        return re.compile(
            "".join(map("".join, itertools.zip_longest(map(re.escape, parts[::2]), values, fillvalue="")))
        )

    keys = sorted(SAID["nl"], key=lambda key: -len(re.sub(r"\{\w+\}", "", key)))
    return [(key, pattern(key)) for key in keys]


@cache
def keys_of(text: str) -> set[str] | None:
    """The keys that translate a text and the texts in it; `None`: some words stay English."""
    if not WORDS.search(text):
        return set()
    for key, pattern in patterns():
        found = pattern.fullmatch(text)
        inner = [keys_of(value) for value in found.groups()] if found else [None]
        if None not in inner:
            return {key}.union(*(each or () for each in inner))
    return None


def templates(node: ast.expr, names: Mapping[str, list[ast.expr]], depth: int = 0) -> list[str]:
    """The texts that an expression may be, with `{}` for what is only known when it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            found = [templates(part, names, depth) for part in parts]
            return ["".join(each) for each in itertools.product(*found)]
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None) if isinstance(value, ast.Name):
            return templates(value, names, depth)
        case ast.Dict(values=values):
            return [text for value in values for text in templates(value, names, depth)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [a + b for a in templates(left, names, depth) for b in templates(right, names, depth)]
        case ast.IfExp(body=one, orelse=other):
            return [*templates(one, names, depth), *templates(other, names, depth)]
        case ast.BoolOp(values=values):
            return [text for value in values for text in templates(value, names, depth)]
        case ast.Name(id=name) if name in names and depth < 3:
            return [text for value in names[name] for text in templates(value, names, depth + 1)]
        case _:
            return ["{}"]


def assigned(body: Iterator[ast.AST]) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
    return found


@cache
def texts_of(source: Path) -> frozenset[str]:
    """What a module says to people."""
    tree = ast.parse((ROOT / source).read_text())
    everywhere = assigned(iter(tree.body))
    found = {
        text
        for name, values in everywhere.items()
        for value in values
        for text in templates(value, {})
        if name.isupper()
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names = everywhere | assigned(ast.walk(function))
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).rpartition(".")[2]
                said = [word.value for word in node.keywords if word.arg == "reason"]
                said += node.args[CALLS.get(called, 99) :][:1]
                found |= {text for each in said for text in templates(each, names)}
            elif (
                isinstance(node, ast.Return)
                and node.value
                and ast.unparse(function.returns or node) in {"str", "str | None"}
            ):
                found |= {text for text in templates(node.value, names) if " " in text}
    return frozenset(text for text in found if WORDS.search(text))


def all_strings(source: Path) -> set[str]:
    nodes = ast.walk(ast.parse((ROOT / source).read_text()))
    return {text for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr) for text in templates(node, {})}


def wrong_documents() -> Iterator[dict[str, Any]]:
    """Documents with each field in turn of a wrong kind, too large, too small, too long."""
    values = [
        5,
        -1,
        10**9,
        0.5,
        float("inf"),
        "x",
        "x" * 5000,
        "../x",
        True,
        None,
        [],
        {},
        ["x"] * 40,
        [1, 2],
        {"x": 1},
    ]
    for field, value in itertools.product([*BatchDocument.model_fields, "other"], values):
        yield {"source": "in", "operations": [["resize", "50%"]], field: value}
    for operation in installed_operations().values():
        for value in values:
            yield {"source": "in", "operations": [[operation.name, value]]}
            for name in operation.params.model_fields:
                yield {"source": "in", "operations": [{"op": operation.name, name: value}]}


@cache
def said_of_damaged_jpegs() -> frozenset[str]:
    """What is said of JPEGs of which some bytes were changed: by our own checks, and by libjpeg."""
    restarts = [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    whole = cv2.imencode(".jpg", craft.photo(40, 28), restarts)[1].tobytes()
    found = set()
    for data in (
        *(data for kind, data in mutated(3600, seed=7) if kind == "jpg"),
        whole.replace(b"\xff\xd0", b"\xff\xd5"),
    ):
        try:
            decode(memoryview(data))
        except Rejected as error:
            found.add(str(error))
    return frozenset(text for text in found if text.startswith("the JPEG"))


def problems_of(document: Mapping[str, Any]) -> list[str]:
    try:
        read_batch(json.dumps(document), installed_operations())
    except Invalid as invalid:
        return [fault.problem for fault in invalid.faults]
    return []


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_every_text_of_a_fault_has_a_translation(source):
    seen_elsewhere = OF_THE_OPERATOR | OF_PROGRAMS | OF_A_WEBHOOK
    missing = sorted(text for text in texts_of(source) - seen_elsewhere if keys_of(text) is None)
    assert missing == [], "add them to page/texts/said.*.json, or say above where else they are seen"


def test_what_is_wrong_with_any_field_is_translated_and_no_translation_is_of_an_earlier_text():
    checked = {problem for document in wrong_documents() for problem in problems_of(document)}
    assert len(checked) > 60
    assert sorted(problem for problem in checked if keys_of(problem) is None) == []
    said = set().union(
        checked,
        said_of_damaged_jpegs(),
        *(texts_of(source) for source in SOURCES),
        (name for _, _, name in OTHER_KINDS),
    )
    used = set().union(*(keys_of(text) or () for text in said))
    written = set().union(*map(all_strings, SOURCES), (f"{{}} {amount}" for amount in Amounts._fields))
    written |= {"{} files", "{}, {}", "low on memory"}  # of a limit of the form; lists of reasons; RabbitMQ's
    assert sorted(key for key in set(SAID["nl"]) - used if re.sub(r"\{\w+\}", "{}", key) not in written) == []


def test_what_libjpeg_says_of_a_damaged_file_is_translated():
    said = said_of_damaged_jpegs()
    assert sum("the decoder says" in text for text in said) > 20
    assert sorted(text for text in said if keys_of(text) is None) == []


@pytest.mark.parametrize("language", SAID)
def test_the_page_can_ask_for_them(language):
    found = read_page_file(f"said.{language}.json")
    assert found is not None
    assert found.content_type == "application/json"
    assert json.loads(found.body) == SAID[language]


def test_every_language_has_the_same_texts_with_the_same_values():
    for language, here in SAID.items():
        assert list(here) == list(SAID["nl"]), language
        for key, text in here.items():
            assert sorted(re.findall(r"\{(\w+)\}", text)) == sorted(re.findall(r"\{(\w+)\}", key)), key


@pytest.mark.parametrize(
    "text", ["nobody has translated this", "a.jpg: this is new", "a new kind, which is not decoded"]
)
def test_a_text_without_a_translation_is_seen(text):
    assert keys_of(text) is None
