"""Finding records of a stream that comes in nearly the order of the search."""

from muniflow.store.ahead import Ahead


def stream(*keys):
    return ((key, key.upper()) for key in keys)


def test_in_order_nothing_is_read_past_a_key_that_is_not_there():
    records = stream("a", "c", "d", "e")
    ahead = Ahead(records, sorted_by_key=True)
    assert [ahead.take(key) for key in ("a", "b", "c")] == ["A", None, "C"]
    assert next(records) == ("d", "D")


def test_the_order_is_that_of_bytes_and_small_detours_are_found():
    ahead = Ahead(stream("a-0", "a-1", "a-10", "a-2", "é"), sorted_by_key=True)
    assert [ahead.take(f"a-{n}") for n in (0, 1, 2, 10)] == ["A-0", "A-1", "A-2", "A-10"]
    assert ahead.take("é") == "É"


def test_in_any_order_as_much_is_held_as_is_allowed():
    ahead = Ahead(stream(*"dcba"), sorted_by_key=False, most=3)
    assert [ahead.take(key) for key in "bzdca"] == ["B", None, "D", "C", "A"]
    ahead = Ahead(stream(*"dcba"), sorted_by_key=False, most=2)
    assert [ahead.take(key) for key in "azd"] == [None, None, "D"]


def test_what_was_taken_is_gone():
    ahead = Ahead(stream("a"), sorted_by_key=False)
    assert (ahead.take("a"), ahead.take("a")) == ("A", None)
