import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.keys import key_problem, stem_of
from muniflow_gateway.upload.filenames import MAX_LABEL_BYTES, Labels, safe_label


@pytest.mark.parametrize(
    ("given_name", "label"),
    [
        ("a.jpeg", "a.jpeg"),
        ("Straße 1.jpg", "Straße 1.jpg"),
        ("../../etc/passwd", "passwd"),
        (r"C:\photos\north.png", "north.png"),
        ("a/b/c.webp", "c.webp"),
        ("..", "image"),
        (".", "image"),
        ("", "image"),
        (None, "image"),
        ("/", "image"),
        (".htaccess", "htaccess"),
        (".muniflow-tmp-1", "muniflow-tmp-1"),
        ("-rf.jpg", "rf.jpg"),
        ("a\0b.jpg", "a_b.jpg"),
        ("a\r\nX-Evil: 1.jpg", "a__X-Evil_ 1.jpg"),
        ("<script>.jpg", "_script_.jpg"),
        ("a\u202egpj.exe", "a_gpj.exe"),
        ("e\u0301.jpg", "\u00e9.jpg"),
        ("con?.jpg ", "con_.jpg"),
    ],
)
def test_a_file_name_is_a_label_and_never_a_path(given_name, label):
    assert safe_label(given_name) == label


@given(st.text(max_size=400))
def test_every_label_is_a_key_of_one_part(name):
    label = safe_label(name)

    assert key_problem(f"uploads/id/{label}") is None
    assert "/" not in label
    assert not label.startswith(".")
    assert len(label.encode()) <= MAX_LABEL_BYTES


def test_a_long_name_keeps_its_extension():
    assert safe_label("ü" * 300 + ".jpg") == "ü" * 78 + ".jpg"


def test_equal_names_are_told_apart():
    labels = Labels()

    taken = [labels.take(name) for name in ("a.jpg", "a.jpg", "a.png", "A.jpg", "a_2.jpg", "a.jpg")]

    assert taken == ["a.jpg", "a_2.jpg", "a_3.png", "A_4.jpg", "a_2_2.jpg", "a_5.jpg"]


@given(st.lists(st.sampled_from(["a.jpg", "a_2.jpg", "A.PNG", "a_2_2.jpg", "", "b"]), max_size=40))
def test_no_two_outputs_of_a_request_can_have_one_name(names):
    labels = Labels()

    stems = [stem_of(labels.take(name)).casefold() for name in names]

    assert len(set(stems)) == len(names)


def test_ten_thousand_equal_names_take_no_time():
    labels = Labels()

    assert len({labels.take("a.jpg") for _ in range(10_000)}) == 10_000
