"""What the command line prints of others: no terminal takes it as commands."""

import json

import pytest

from muniflow.errors import Rejected
from muniflow_cli.commands.output import plain, say, show_json, show_table
from muniflow_cli.main import _show

NASTY = "a\x1b[2J\x9b1m\u202egpj\x07"
ESCAPED = "a\\x1b[2J\\x9b1m\\u202egpj\\x07"


@pytest.mark.parametrize(
    "show",
    [
        lambda: say(NASTY),
        lambda: show_table("", ("name",), [(plain(NASTY),)]),
        lambda: _show(Rejected(NASTY), as_json=False),
    ],
    ids=["say", "table", "error"],
)
def test_words_of_others_are_escaped(show, capsys):
    show()
    out, err = capsys.readouterr()
    assert ESCAPED in out + err


def test_json_is_escaped_and_says_the_same(capsys):
    show_json({"name": NASTY})
    text = capsys.readouterr().out
    assert all(line.isprintable() for line in text.splitlines())
    assert json.loads(text) == {"name": NASTY}


def test_lines_stay(capsys):
    say("first\nsecond")
    assert capsys.readouterr().out == "first\nsecond\n"
