"""What may be a key, and where muniflow puts things."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model import keys
from muniflow.model.lineage import Lineage


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "a/b.jpg",
        "a..b",
        "a.",
        "straße 1/é.jpg",
        "a b",
        "100%20",
        "a:b",
        "x" * 255,
        "/".join(["x" * 255] * 4),
        "\N{GRINNING FACE}",
        "Screenshot 2026-03-01 at 4.15.00\u202fPM.jpg",
        "Snímek v\u00a013.05.jpg",
        "\u0646\u0645\u06cc\u200c\u062f.jpg",
        "a\nb",
        "a\\b",
        "a\u202eb",
    ],
)
def test_a_key(key: str) -> None:
    assert keys.key_problem(key) is None


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "empty"),
        ("/", "cannot start with '/'"),
        ("/etc/passwd", "cannot start with '/'"),
        ("..", "nothing outside its root"),
        ("../x", "nothing outside its root"),
        ("a/../b", "nothing outside its root"),
        ("a/..", "nothing outside its root"),
        (".", "'.'"),
        ("./a", "'.'"),
        (".hidden", "cannot begin with '.'"),
        ("...", "cannot begin with '.'"),
        ("a/..b", "cannot begin with '.'"),
        (".git/config", "hidden files are never read"),
        ("a/.b/c.jpg", "hidden files are never read"),
        (".muniflow/broker/node.json", "hidden files are never read"),
        (f"{keys.UPLOADS}/id/a.jpg", "hidden files are never read"),
        ("a//b", "empty parts"),
        ("a/", "empty parts"),
        ("..\\a", "cannot begin with '.'"),
        ("a\0", "a NUL"),
        ("\udcff", "not UTF-8"),
        ("x" * 256, "a part of a key has at most 255 bytes"),
        ("é" * 128, "a part of a key has at most 255 bytes"),
        ("/".join(["x" * 204] * 5) + "x", "at most 1024 bytes"),
        ("é/" * 350, "at most 1024 bytes"),
    ],
)
def test_not_a_key(key: str, problem: str) -> None:
    assert problem in (keys.key_problem(key) or "")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("north\u00a0west/a", None),
        ("a\\b", "separates folders with '/'"),
        ("a\nb", "control characters"),
        ("a\x85b", "control characters"),
        ("a\u2028b", "control characters"),
        ("/a", "cannot start with '/'"),
    ],
)
def test_what_a_person_types_is_checked_more_strictly(key: str, problem: str | None) -> None:
    assert (problem or "") in (keys.place_problem(key) or "")
    assert (problem is None) == (keys.place_problem(key) is None)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (f"{keys.UPLOADS}/id/a.jpg", None),
        (f"{keys.CHECKS}/a", None),
        ("a/b.jpg", None),
        (f"{keys.UPLOADS}/id/.a.jpg", "cannot begin with '.'"),
        (f"{keys.UPLOADS}/../broker/node.json", "nothing outside its root"),
        (f"{keys.UPLOADS}/.claim", "cannot begin with '.'"),
        (f"{keys.UPLOADS}/", "empty"),
        (keys.UPLOADS, "cannot begin with '.'"),
        (f"{keys.UPLOADS}2/a.jpg", "cannot begin with '.'"),
        (f"a/{keys.UPLOADS}/a.jpg", "cannot begin with '.'"),
        (".muniflow/broker/node.json", "cannot begin with '.'"),
    ],
)
def test_only_the_hidden_folders_of_muniflow_itself_hold_blobs(key: str, problem: str | None) -> None:
    assert (problem or "") in (keys.stored_key_problem(key) or "")
    assert (problem is None) == (keys.stored_key_problem(key) is None)


@given(st.text(st.sampled_from("a./\\ \0é\udcff"), max_size=12) | st.text(max_size=40))
def test_a_key_stays_below_its_root_and_has_one_spelling(key: str) -> None:
    if keys.key_problem(key) is None:
        assert posixpath.normpath("/root/" + key) == "/root/" + key
        assert not any(part.startswith(".") for part in key.split("/"))
        assert key.encode().decode() == key


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("a.jpg", "a"),
        ("north/a.jpg", "north/a"),
        ("north.v2/a", "north.v2/a"),
        ("a.tar.gz", "a.tar"),
        (".hidden", ".hidden"),
        ("x/.hidden", "x/.hidden"),
        ("x/.hidden.jpg", "x/.hidden"),
        ("a", "a"),
    ],
)
def test_the_stem(key: str, stem: str) -> None:
    assert keys.stem_of(key) == stem


def test_the_intermediates_of_an_image_lie_below_its_prefix_and_its_batch() -> None:
    assert keys.work_prefix("city", 12_345) == "city/12/12345/"
    for key in (
        keys.intermediate_key("city", 12_345, 2, 1, ((3, 4), (0, 6))),
        keys.intermediate_key("city", 12_345, 2, 1, ((3, 4), (0, 6)), mark=".x"),
        keys.profile_key("city", 12_345, 2, mark=".x"),
        keys.metadata_key("city", 12_345, 2, mark=".x"),
    ):
        assert keys.stored_key_problem(key) is None
        assert key.startswith(keys.work_prefix("city", 12_345))
        assert key.startswith(keys.work_prefix("city"))


places = st.tuples(
    st.integers(0, 10**7),
    st.integers(0, 99),
    st.integers(0, 31),
    st.lists(st.integers(1, 12).flatmap(lambda of: st.tuples(st.integers(0, of - 1), st.just(of))), max_size=4).map(
        tuple
    ),
)


@given(places, places)
def test_each_place_has_its_own_key(one: tuple[int, int, int, Lineage], other: tuple[int, int, int, Lineage]) -> None:
    first, second = keys.intermediate_key("b", *one), keys.intermediate_key("b", *other)
    assert keys.key_problem(first) is None
    assert (first == second) == (one == other)


def test_an_output_lies_in_its_destination() -> None:
    assert keys.output_key("out/city", "north/a-0.jpg") == "out/city/north/a-0.jpg"


@pytest.mark.parametrize(
    ("prefix", "is_one"),
    [
        ("{own}/", True),
        ("{own}+0123456789abcdef/", True),
        ("{own}+0123456789abcdef", False),
        ("{own}+a/b/", False),
        ("{own}+../b/", False),
        ("{own}/a/", False),
        ("{own}", False),
        ("{own}/a/b/", False),
        ("{own}/../other/", False),
        ("{own}/.hidden/", False),
        ("{own}2/a/", False),
        ("a/{own}/b/", False),
        ("", False),
    ],
)
def test_a_batch_can_name_what_was_sent_with_it_and_nothing_else(prefix, is_one):
    assert keys.is_upload(prefix.format(own=keys.upload_folder("b").removesuffix("/")), "b") is is_one


@pytest.mark.parametrize("attempt", ["", "0123456789abcdef"])
def test_the_folder_of_an_upload_is_one_that_its_batch_can_name(attempt):
    assert keys.is_upload(keys.upload_folder("b", attempt=attempt), "b")
