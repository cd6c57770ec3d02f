"""A build that cannot be had says what to do: without history the suite is skipped, and fails in CI."""

import subprocess

import pytest
from _pytest.outcomes import Failed, Skipped
from tests.upgrade import builds, conftest

COMMITTER = ("-c", "user.name=A", "-c", "user.email=a@example.org")


def git(*arguments, folder):
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git("init", "--quiet", folder=folder)
    git(*COMMITTER, "commit", "--quiet", "--allow-empty", "--message", "first", folder=folder)
    return folder


def reason(monkeypatch, root, folder):
    monkeypatch.setattr(builds, "ROOT", root)
    with pytest.raises(builds.NoBuildError) as raised:
        builds.get("0123abc", folder / "build")
    return str(raised.value)


def test_a_shallow_clone_is_told_to_fetch_the_rest(monkeypatch, repository, tmp_path):
    git(*COMMITTER, "commit", "--quiet", "--allow-empty", "--message", "second", folder=repository)
    git("clone", "--quiet", "--depth", "1", repository.as_uri(), "shallow", folder=tmp_path)
    found = reason(monkeypatch, tmp_path / "shallow", tmp_path)
    assert found == "the commit 0123abc is not in this shallow clone: run `git fetch --unshallow`"


def test_a_wrong_commit_is_named(monkeypatch, repository, tmp_path):
    expected = "0123abc is neither a commit here nor a folder with `libs` and `services`"
    assert reason(monkeypatch, repository, tmp_path) == expected


@pytest.mark.parametrize("where", ["unpacked", "origin/unpacked"])
def test_a_tree_without_history_says_so(monkeypatch, repository, tmp_path, where):
    """Also one that was unpacked inside another repository."""
    assert repository.is_dir()
    (tmp_path / where).mkdir()
    found = reason(monkeypatch, tmp_path / where, tmp_path)
    assert found == "this tree has no git history to take 0123abc from"


@pytest.mark.parametrize(("ci", "outcome"), [("", Skipped), ("true", Failed)])
def test_without_history_it_is_skipped_and_fails_in_ci(monkeypatch, tmp_path, ci, outcome):
    monkeypatch.setattr(builds, "ROOT", tmp_path)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no git history"):
        conftest.the_previous(tmp_path / "build")


def test_the_previous_build_is_a_whole_commit():
    assert len(builds.previous()) == 40
    assert set(builds.previous()) <= set("0123456789abcdef")
