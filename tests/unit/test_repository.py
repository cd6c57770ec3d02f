"""What holds for the repository as a whole: its files, its documents, its size limits."""

import ast
import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from muniflow.model.batch import read_batch
from muniflow.model.batch_document import BatchDocument
from muniflow.model.messages import Notice
from muniflow.model.operation import installed_operations
from muniflow.model.topology import BATCHES, CONTROL, EVENTS, LOST, dead_queue, step_queue, work_queues
from muniflow.runtime.settings import BrokerSettings, ProcessSettings, StoreSettings, variable
from muniflow_cli.commands import exits
from muniflow_cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVICE_PAGES = sorted((ROOT / "services").glob("*/README.md"))
CODE = sorted(
    path
    for folder in ("libs", "services")
    for path in (ROOT / folder).rglob("*.py")
    if not {"build", "dist", "__pycache__"} & set(path.parts)
)
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_EXAMPLES_BYTES = 3 * 2**20
FIXED = ["pika", "opencv-python-headless", "numpy", "prometheus-client", "pydantic", "kubernetes"]
# Names of registries, put together so that this file does not match itself.
REGISTRIES = re.compile("|".join(re.escape(name) for name in ("py" + "pi.org", "python" + "hosted", "npmjs" + ".org")))
OWN_PATHS = re.compile(rf"(?<![\w.}}/-]){re.escape(str(ROOT))}/")


def name_of(path):
    return str(path.relative_to(ROOT))


def tracked():
    """The text files that are, or can be, part of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git repository")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def test_the_readme_gives_the_two_commands_and_the_picture_first():
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:20])

    assert "make demo" in first_screen
    assert "make test" in first_screen
    assert "docs/images/message-way.svg" in first_screen


def test_ci_runs_the_readmes_test_command():
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()


def test_no_file_names_a_registry_or_a_folder_of_one_machine():
    found = [
        f"{name_of(path)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if REGISTRIES.search(line) or OWN_PATHS.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=name_of)
def test_requirements_are_exact_have_hashes_and_no_address(path):
    text = path.read_text()
    entries = re.split(r"\n(?=\S)", text.strip())

    assert "://" not in text
    assert all(re.match(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+", entry) for entry in entries)
    assert all("--hash=sha256:" in entry for entry in entries)


def test_what_the_users_asked_for_is_required():
    cli_names = {
        line.split("==")[0] for line in (ROOT / "requirements/cli.txt").read_text().splitlines() if "==" in line
    }
    dev_names = {
        line.split("==")[0] for line in (ROOT / "requirements/dev.txt").read_text().splitlines() if "==" in line
    }

    assert cli_names.issuperset(FIXED)
    assert dev_names.issuperset([*FIXED, "pytest", "testcontainers"])


@pytest.mark.parametrize("path", [path for path in REQUIREMENTS if path.stem != "bench"], ids=name_of)
def test_what_is_shipped_is_what_is_tested(path):
    pins = set(re.findall(r"^\S+==\S+", path.read_text(), re.MULTILINE))
    tested = set(re.findall(r"^\S+==\S+", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))

    assert pins <= tested


def test_the_coordinator_needs_no_opencv():
    text = (ROOT / "requirements/coordinator.txt").read_text()

    assert "opencv" not in text
    assert "numpy" not in text


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not is_catalogue(node)
        and (length := code_lines(node)) > MAX_FUNCTION_LINES
    ]

    assert len(text.splitlines()) <= MAX_MODULE_LINES
    assert long == []


def is_catalogue(function):
    """A constructor that only names things (metrics, say) is a table, however long."""
    assignments = ast.Assign | ast.AnnAssign | ast.Expr
    return function.name == "__init__" and all(isinstance(statement, assignments) for statement in function.body)


def code_lines(function: Any) -> int:
    """Lines of a function without its docstring."""
    lines: int = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def commands_in(path):
    """The lines of the shell blocks of a document, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "examples/README.md"], ids=name_of)
def test_every_command_in_the_documents_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands_in(path):
        if words[0] == "make":
            assert words[1] in targets
        if words[0] == "muniflow":
            command = cli.get_command(click.Context(cli), words[1])
            assert command is not None, words
            if isinstance(command, click.Group) and len(words) > 2 and words[2] in command.commands:
                command = command.commands[words[2]]
            options = {option for parameter in command.params for option in parameter.opts}
            given = {word for word in words[2:] if word.startswith("--")}
            if words[1] != "dead":
                assert given <= options, words


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []


def anchors(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_to_a_section_leads_to_a_heading(path):
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", path.read_text())

    assert [link for link in links if link[1] not in anchors((path.parent / link[0]) if link[0] else path)] == []


def test_the_page_on_the_command_line_is_complete():
    text = (ROOT / "docs/reference/cli.md").read_text()
    codes = [value for name, value in vars(exits).items() if name.isupper()]
    fields = [*BrokerSettings.model_fields, *StoreSettings.model_fields, *ProcessSettings.model_fields]

    assert all(f"`muniflow {name}" in text for name in COMMANDS)
    assert all(f"| {code} |" in text for code in codes)
    assert all(variable(field) in text for field in fields if field.endswith("_url"))


def test_the_pages_on_batches_and_messages_are_complete():
    batch = (ROOT / "docs/reference/batch.md").read_text()
    messages = (ROOT / "docs/reference/messages.md").read_text()
    queues = {BATCHES, EVENTS, CONTROL, LOST, *work_queues("<operation>"), dead_queue(step_queue("<operation>"))}

    assert [name for name in BatchDocument.model_fields if f"| `{name}` |" not in batch] == []
    assert [name for name in installed_operations() if f"| `{name}` |" not in batch] == []
    assert [name for name in Notice.model_fields if f"`{name}`" not in messages and name != "v"] == []
    assert [name for name in queues if f"| `{name}` |" not in messages] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_result_that_a_document_names_is_kept(path):
    named = re.findall(r"\d{8}-\d{6}-[a-z]+\.[a-z]+", path.read_text())

    assert [name for name in named if not (ROOT / "benchmarks/results" / name).is_file()] == []


def test_every_path_that_the_concepts_name_exists():
    text = (ROOT / "docs/concepts.md").read_text()
    places = re.findall(r"`((?:libs|services)/[\w/.]+)`", text)

    assert len(places) >= 6
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_the_concepts_say_what_each_package_of_the_library_holds():
    text = (ROOT / "docs/concepts.md").read_text()
    packages = [folder.parent.name for folder in (ROOT / "libs/common/muniflow").glob("*/__init__.py")]

    assert len(packages) >= 10
    assert [name for name in packages if f"`muniflow.{name}`" not in text and f"`.{name}`" not in text] == []


def is_importable(name):
    """Whether a dotted name is a module, or something in one."""
    module, _, attribute = name.rpartition(".")
    try:
        if importlib.util.find_spec(name):
            return True
    except ModuleNotFoundError:
        pass
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("path", [*DOCUMENTS, *SERVICE_PAGES], ids=name_of)
def test_every_module_that_a_document_names_exists(path):
    layers = "|".join(sorted(folder.parent.name for folder in (ROOT / "libs/common/muniflow").glob("*/__init__.py")))
    found = re.findall(rf"`((?:muniflow\.(?:{layers})|muniflow_[a-z]+)\.[\w.]+)`", path.read_text())

    assert [name for name in found if not is_importable(name)] == []


def test_the_schema_that_is_printed_is_json():
    done = CliRunner().invoke(cli, ["schema"])

    assert done.exit_code == 0
    assert json.loads(done.output)["title"] == "A muniflow batch"


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_every_example_is_a_batch_of_pictures_that_are_there(path):
    batch = read_batch(path.read_bytes(), installed_operations())
    names = batch.images or ()
    if batch.manifest:
        names = tuple((ROOT / batch.manifest).read_text().split())

    assert all((ROOT / batch.source / name).is_file() for name in names)
    assert any((ROOT / batch.source).iterdir())


def test_the_examples_are_small_and_each_photograph_has_its_licence():
    pictures = sorted((ROOT / "examples/images").iterdir())
    table = (ROOT / "examples/README.md").read_text()

    assert sum(path.stat().st_size for path in pictures) < MAX_EXAMPLES_BYTES
    assert {path.suffix for path in pictures} == {".jpg", ".png"}
    for path in pictures:
        row = re.search(rf"^\| `{re.escape(path.name)}` \|.*$", table, re.MULTILINE)
        assert row, f"{path.name} is not in examples/README.md"
        assert re.search(r"\| (public domain|CC0 1\.0) \|", row[0])
