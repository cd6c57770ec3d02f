"""Names that the layout replaced (docs/adr/0023-layout.md) stay out of the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# fmt: off
OBJECTS = frozenset({
    "Desk", "IntakeDesk", "EventsDesk", "CommandDesk", "Patience", "Hand", "Ticket", "Cell", "Verdict", "Fate",
    "Letter", "Conversation", "News", "Heard", "Parts", "Keeper", "Claim", "Shard", "World", "verdict",
    "Core", "Surroundings",
})
MODULES = frozenset({
    "intake", "patience", "answers", "live", "depths", "trouble", "peer", "cell", "tickets", "verdict", "settle",
    "letters", "conversation", "news", "parts", "labels", "measure", "pipe", "finish", "sweeper", "keeper", "sole",
    "catalogue", "visitors",
})
# fmt: on
CONSTANTS = frozenset({"AGAIN_S", "MOST", "NEWS", "PATIENCE", "PATIENCE_S"})
CONSTANT_STARTS = ("MOST_",)
CONSTANT_ENDS = ("_LETTERS",)
ALLOWED = frozenset({"DEAD_LETTERS"})
"""The field's word for messages that failed for good."""
LEFT: frozenset[str] = frozenset()
"""`path: name` of what is still to be renamed. It only shrinks."""


def code_files():
    return sorted(
        path
        for folder in ("libs", "services", "tests", "benchmarks", "deploy", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if not {"build", "dist", "__pycache__"} & set(path.parts)
    )


def is_old_constant(name: str) -> bool:
    bare = name.lstrip("_")
    if bare in ALLOWED or not bare.isupper():
        return False
    return bare in CONSTANTS or bare.startswith(CONSTANT_STARTS) or bare.endswith(CONSTANT_ENDS)


def old_names(module: str, folders: tuple[str, ...], text: str):
    """The old names among what a module is and defines."""
    yield from (name for name in (module, *folders) if name in MODULES)
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name in OBJECTS:
                    yield name
            case ast.Name(id=name, ctx=ast.Store()) if is_old_constant(name):
                yield name


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("patience", "", ["patience"]),
        ("retry_queue", "class Patience: ...", ["Patience"]),
        ("exits", "def verdict(): ...", ["verdict"]),
        ("exits", "async def verdict(): ...", ["verdict"]),
        ("limits", "MOST_FILES = 3\n_MOST_BYTES: int = 4", ["MOST_FILES", "_MOST_BYTES"]),
        ("limits", "NAME_LETTERS = 3\nAGAIN_S = 1\nPATIENCE_S = 2", ["NAME_LETTERS", "AGAIN_S", "PATIENCE_S"]),
        ("metrics", "DEAD_LETTERS = 1\nletters = 2", []),
        ("handle", "class ChildHandle:\n    MOST_HELD = 2", ["MOST_HELD"]),
        ("handle", "from here import Desk\nDesk().news", []),
    ],
)
def test_an_old_name_is_found_where_it_is_defined(module, text, expected):
    assert list(old_names(module, (), text)) == expected


def test_no_module_class_function_or_constant_has_an_old_name():
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in code_files()
        for name in old_names(path.stem, path.relative_to(ROOT).parts[:-1], path.read_text())
    }

    assert found == LEFT


def product_classes(path: Path) -> list[str]:
    """The public classes that a module defines."""
    body = ast.parse(path.read_text()).body
    return [node.name for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def test_a_class_name_means_one_thing_in_libraries_and_services():
    places: dict[str, list[str]] = {}
    for path in code_files():
        parts = path.relative_to(ROOT).parts
        if parts[0] in {"libs", "services"} and "tests" not in parts:
            for name in product_classes(path):
                places.setdefault(name, []).append("/".join(parts))

    assert len(places) > 300
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
