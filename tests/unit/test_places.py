"""Where outputs may lie: the rule by roots and prefixes, against every key that could be meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.keys import is_hidden
from muniflow.store.places import Location, destination_in, is_among, store_faults

S3 = "s3://city"


def at(path, system="file"):
    return Location(system, tuple(part for part in path.split("/") if part))


@pytest.mark.parametrize(
    ("source", "output", "destination", "expected"),
    [
        (at("/data"), at("/data"), "photos", "photos/"),
        (at("/data"), at("/data/photos"), "b", "photos/b/"),
        (at("/data/photos"), at("/data"), "photos", ""),
        (at("/data/photos"), at("/data"), "photos/out", "out/"),
        (at("/data/photos/north"), at("/data"), "photos", ""),
        (at("/data/photos"), at("/data"), "photos-2", None),
        (at("/data/source"), at("/data/output"), "b", None),
        (at("/"), at("/data"), "b", "data/b/"),
        (at("/p"), at("/p/.muniflow/output"), "b", ".muniflow/output/b/"),
        (at("in", S3), at("", S3), "in/x", "x/"),
        (at("in", S3), at("in", "s3://other"), "x", None),
        (at("in", S3), at("in"), "x", None),
    ],
)
def test_the_destination_in_the_source_store(source, output, destination, expected):
    assert destination_in(source, output, destination) == expected


@pytest.mark.parametrize(
    ("outputs", "sources", "expected"),
    [
        ("photos/", "photos/", True),
        ("photos/out/", "photos/", True),
        ("photos/", "photos/north/", True),
        ("", "photos/", True),
        ("results/", "", True),
        (".muniflow/output/b/", "", False),
        ("photos/.out/b/", "photos/", False),
        ("results/b/", "images/", False),
        ("images-2/", "images/", False),
        (".muniflow/uploads/b/", ".muniflow/uploads/b/", True),
    ],
)
def test_outputs_among_sources(outputs, sources, expected):
    assert is_among(outputs, sources) == expected


names = st.sampled_from(["a", "b", ".h", "a-0"])
folders = st.lists(names, max_size=4).map(tuple)
visible = st.lists(st.sampled_from(["a", "b", "a-0"]), min_size=1, max_size=3).map("/".join)


@given(folders, folders, visible, st.lists(st.sampled_from(["a", "b"]), max_size=2), st.tuples(visible, visible))
def test_what_is_let_through_never_meets(source, output, destination, listed, of_names):
    """An output is no source and no file of a list: told by the whole paths, whatever the roots."""
    source_name, output_name = of_names
    roots = Location("file", source), Location("file", output)
    prefix = "".join(f"{part}/" for part in listed)
    outputs = destination_in(*roots, destination)
    output_path = "/".join((*output, destination, output_name))
    root = "".join(f"{part}/" for part in source)

    if outputs is None or not is_among(outputs, prefix):
        inside = output_path.startswith(root + prefix)
        assert not inside or is_hidden(output_path.removeprefix(root + prefix)), "it would be listed as a source"
        assert output_path != root + prefix + source_name
    if outputs is None or not source_name.startswith(outputs):
        assert output_path != root + source_name, "a named image would be replaced"


@pytest.mark.parametrize(
    ("work", "places"),
    [
        ("/data/work", 0),
        ("/data/source", 1),
        ("/data/source/work", 1),
        ("/data/output", 1),
        ("/data/output/work", 1),
        ("/data", 2),
        ("/data/source/.muniflow/work", 0),
        ("/data/sources", 0),
    ],
)
def test_intermediates_have_a_place_of_their_own(work, places):
    faults = store_faults(at("/data/source"), at(work), at("/data/output"))
    assert [fault.place for fault in faults] == ["MUNIFLOW_WORK_URL"] * places
    assert store_faults(at("source", S3), at(work), at("output", S3)) == ()
