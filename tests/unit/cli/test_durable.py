"""What a server has not synced is synced for it."""

import os
from pathlib import Path

import pytest

from muniflow_cli.stack.durable import sync_below
from muniflow_cli.stack.node_files import load_identity


def test_every_file_and_folder_is_synced_and_what_is_no_file_left_out(tmp_path, monkeypatch):
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/deep/schema.DAT").write_bytes(b"x")
    (tmp_path / "data/elsewhere").symlink_to("/proc")
    os.mkfifo(tmp_path / "data/pipe")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    assert sync_below(tmp_path) == 4
    expected = [tmp_path, tmp_path / "data", tmp_path / "data/deep", tmp_path / "data/deep/schema.DAT"]
    assert sorted(synced) == sorted(map(str, expected))


def test_what_cannot_be_synced_is_told(tmp_path, monkeypatch):
    def fail(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        sync_below(tmp_path)


def test_an_identity_is_kept_and_an_empty_file_is_none(tmp_path):
    file = tmp_path / "node.json"
    file.touch()  # as a power failure leaves it
    made = load_identity(file)
    assert load_identity(file) == made
