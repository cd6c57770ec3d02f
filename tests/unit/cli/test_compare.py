from muniflow.store.local import LocalStore
from muniflow_cli.commands.demo import compare


def test_every_output_is_compared_and_the_report_is_not(tmp_path):
    left, right = LocalStore(tmp_path / "left"), LocalStore(tmp_path / "right")
    for store, blobs in [
        (left, {"b/same.jpg": b"1", "b/differs.jpg": b"1", "b/left.jpg": b"1", "b/report.json": b"1", "c/x.jpg": b"1"}),
        (right, {"b/same.jpg": b"1", "b/differs.jpg": b"2", "b/right.jpg": b"1", "b/report.json": b"2"}),
    ]:
        for key, data in blobs.items():
            store.write(key, data)

    comparison = compare(left, right, "b/")

    assert comparison.identical == 1
    assert comparison.different == ("b/differs.jpg", "b/left.jpg", "b/right.jpg")
    assert comparison.total == 4
