"""From a URL to a store."""

import subprocess
import sys
from pathlib import Path

import pytest

from muniflow.errors import Invalid
from muniflow.store import open_store


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:///data/city", "/data/city"),
        ("file://here/city", "{cwd}/here/city"),
        ("file://./", "{cwd}"),
        ("here/city", "{cwd}/here/city"),
        ("/data/city 100%20#?", "/data/city 100%20#?"),
        ("file:///data/city 100%20#?", "/data/city 100%20#?"),
        (".", "{cwd}"),
    ],
)
def test_a_folder(url: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(open_store(url)) == f"LocalStore({expected.format(cwd=tmp_path)!r})"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["s3://city", "s3://city/some/prefix", "gs://city/x", "az://container/x"])
def test_an_object_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials of whoever runs the tests
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "test")
    assert repr(open_store(url)) == f"ObjectStore({url!r})"


@pytest.mark.parametrize("url", ["", "file://", "http://host/x", "memory:///", "s3://", "s3:///", "gs://", "a\0b"])
def test_anything_else_is_invalid_and_told_what_is_allowed(url: str) -> None:
    with pytest.raises(Invalid, match="allowed are file://"):
        open_store(url)


def test_without_the_extra_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "muniflow.store.objects", raising=False)
    with pytest.raises(Invalid, match=r"s3://city: needs the extra 'objects': pip install 'muniflow\[objects\]'"):
        open_store("s3://city")


def test_a_local_store_loads_no_heavy_library() -> None:
    code = "import sys, muniflow.store as s; s.open_store('.'); print({'obstore', 'numpy', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"
