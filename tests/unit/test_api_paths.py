from muniflow.model.api import batch_path, images_path, query_of


def test_an_id_never_leaves_its_place_in_a_path():
    assert batch_path("a") == "/v1/batches/a"
    assert images_path("../x?y=1") == "/v1/batches/..%2Fx%3Fy%3D1/images"


def test_what_is_not_asked_is_left_out_of_a_query():
    assert query_of(state=None, after=0, limit=20) == {"after": "0", "limit": "20"}
