import stat

import pytest

from muniflow.errors import Invalid
from muniflow_gateway.__main__ import main
from muniflow_gateway.auth import api_keys as keys
from muniflow_gateway.auth.api_keys import KeyRing, make_key, read_keys, revoke_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "api-keys"


def test_a_key_is_kept_as_a_hash_only_and_for_its_owner_only(path):
    secret = make_key(path, "utrecht", {"requests_per_minute": 5})

    (kept,) = read_keys(path)
    assert (kept.name, kept.requests_per_minute) == ("utrecht", 5)
    assert len(secret) > 43
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_running_gateway_follows_the_file(path, monkeypatch):
    monkeypatch.setattr(keys, "CHECK_S", 0)
    ring = KeyRing(path)
    assert len(ring) == 0

    secret = make_key(path, "utrecht")
    found = ring.find(secret)
    assert found is not None
    assert found.name == "utrecht"
    assert ring.find(secret + "x") is None

    revoke_key(path, "utrecht")
    assert ring.find(secret) is None


def test_a_file_that_breaks_while_running_changes_nothing(path, monkeypatch, caplog):
    monkeypatch.setattr(keys, "CHECK_S", 0)
    secret = make_key(path, "utrecht")
    ring = KeyRing(path)

    path.write_text("{")

    assert ring.find(secret) is not None
    assert "API keys stay as they were" in caplog.text


def revoked(path):
    make_key(path, "utrecht")
    revoke_key(path, "utrecht")


@pytest.mark.parametrize(
    ("before", "after", "used"),
    [
        (None, None, False),
        (lambda path: make_key(path, "utrecht"), None, True),
        (revoked, None, True),
        (None, revoked, True),
        (None, lambda path: make_key(path, "utrecht"), True),
        (None, lambda path: path.write_text("{"), True),
        (None, lambda path: path.write_bytes(b"\xff"), True),
        (None, lambda path: path.mkdir(), True),
        (lambda path: make_key(path, "utrecht"), lambda path: path.unlink(), True),
        (None, lambda path: (path.parent.rmdir(), path.parent.write_text("")), True),
    ],
    ids=["none", "there", "revoked before", "revoked", "made", "broken", "binary", "a folder", "removed", "hidden"],
)
def test_a_file_that_was_there_is_not_forgotten(path, monkeypatch, before, after, used):
    monkeypatch.setattr(keys, "CHECK_S", 0)
    path.parent.mkdir()
    if before:
        before(path)
    ring = KeyRing(path)
    assert ring.used is bool(before)

    if after:
        after(path)

    assert ring.used is used
    if path.is_file():
        path.unlink()
        assert (ring.used, len(ring)) == (used, 0)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff\xfe")])
def test_a_file_that_cannot_be_read_is_said_by_its_name(path, make):
    path.parent.mkdir()
    make(path)

    with pytest.raises(Invalid) as wrong:
        KeyRing(path)

    assert wrong.value.faults[0].place == str(path)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "-a", "a" * 81])
def test_a_name_that_is_none_is_refused(path, name):
    with pytest.raises(Invalid, match="name"):
        make_key(path, name)


def test_the_command_line_makes_lists_and_revokes(path, capsys):
    assert main(["keys", "make", "utrecht", "--file", str(path), "--mebibytes-per-hour", "7"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("muniflow_")

    assert main(["keys", "make", "utrecht", "--file", str(path)]) == 2
    assert main(["keys", "list", "--file", str(path)]) == 0
    shown = capsys.readouterr()
    assert "utrecht has a key already" in shown.err
    assert "7 MiB uploaded an hour" in shown.out
    assert secret not in shown.out

    assert main(["keys", "revoke", "utrecht", "--file", str(path)]) == 0
    assert read_keys(path) == ()
    assert main(["keys", "revoke", "utrecht", "--file", str(path)]) == 2
