"""A build to run processes of: an interpreter of its own that has the packages of that build, and no other of ours.

Third-party packages are those of the environment that runs the tests.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PREVIOUS = Path(__file__).with_name("previous")
"""Holds the commit of the build before this one; moved on with each release."""
OURS = re.compile(r"muniflow|_editable_impl_muniflow|__editable__.*muniflow|bin$|__pycache__$")
_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


class NoBuildError(Exception):
    """A build cannot be had; the text says why, and what to do."""


@dataclass(frozen=True)
class Build:
    """Code of one commit or folder."""

    name: str
    python: str
    site: Path
    """Where its packages are."""

    def module(self, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        """Run `python -m`; returns what it left."""
        return subprocess.run([self.python, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def previous() -> str:
    """The commit of the older build."""
    return PREVIOUS.read_text().strip()


def this_tree() -> Build:
    """The build that runs the tests."""
    return Build("this tree", sys.executable, Path(sysconfig.get_path("purelib")))


def get(which: str, folder: Path) -> Build:
    """Install a build below `folder`.

    Args:
        which: a folder with `libs` and `services`, or a commit of this repository.
        folder: of its own; made.

    Raises:
        NoBuildError: there is no such folder or commit.
    """
    tree = Path(which) if (Path(which) / "libs").is_dir() else _checked_out(which, folder / "tree")
    projects = [path.parent for top in ("libs", "services") for path in sorted((tree / top).glob("*/pyproject.toml"))]
    build = _empty(which[:12] if tree.is_relative_to(folder) else which, folder / "venv")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]
    _output([*pip, "install", *offline, "--target", str(build.site), *map(str, projects)])
    return build


def renamed(build: Build, folder: Path, old: str, new: str) -> Build:
    """A copy of a build in which one name is another one, in its code and so in its messages."""
    copy = _empty(f"{build.name}, {old} as {new}", folder)
    changed = 0
    for path in build.site.glob("muniflow*"):
        shutil.copytree(path, copy.site / path.name)
    for path in copy.site.glob("muniflow*/**/*.py"):
        code, count = re.subn(rf"\b{old}\b", new, path.read_text())
        path.write_text(code)
        changed += count
    assert changed, f"{build.name} has no {old!r}: name another one"
    return copy


def _empty(name: str, folder: Path) -> Build:
    """An environment with everything but our own packages."""
    venv.create(folder, symlinks=True)
    python = str(folder / "bin" / "python")
    site = Path(_output([python, "-c", _SITE]))
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not OURS.match(path.name):
            (site / path.name).symlink_to(path)
    return Build(name, python, site)


def _checked_out(commit: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    archive = folder / "archive.tar"
    if shutil.which("git") is None:
        raise NoBuildError(f"{commit} is no folder with `libs` and `services`, and git is not installed")
    git = ["git", "-C", str(ROOT)]
    done = subprocess.run(
        [*git, "archive", "--output", str(archive), commit, "libs", "services"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoBuildError(_why_not(git, commit))
    _output(["tar", "-xf", str(archive), "-C", str(folder)])
    return folder


def _why_not(git: list[str], commit: str) -> str:
    asked = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False)
    if asked.returncode or Path(asked.stdout.strip()) != ROOT.resolve():
        return f"this tree has no git history to take {commit} from"
    if _output([*git, "rev-parse", "--is-shallow-repository"]) == "true":
        return f"the commit {commit} is not in this shallow clone: run `git fetch --unshallow`"
    return f"{commit} is neither a commit here nor a folder with `libs` and `services`"


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout.strip()
