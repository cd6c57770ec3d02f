from pathlib import Path

import pytest

from muniflow.errors import Invalid
from muniflow.images.limits import DEFAULT_LIMITS, MAX_PIXELS, PIXELS_BACKSTOP, ImageLimits
from muniflow.runtime.settings import read_env, to_env, variable


def test_the_default_admits_a_street_panorama():
    assert DEFAULT_LIMITS.max_pixels >= 16384 * 8192
    assert DEFAULT_LIMITS.max_pixels == MAX_PIXELS <= PIXELS_BACKSTOP
    assert "tiff" not in DEFAULT_LIMITS.formats


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ImageLimits()),
        ({"MUNIFLOW_MAX_PIXELS": "1000"}, ImageLimits(max_pixels=1000)),
        ({"MUNIFLOW_MAX_SCANS": "10"}, ImageLimits(max_scans=10)),
        ({"MUNIFLOW_MAX_ENCODED_BYTES": "99"}, ImageLimits(max_encoded_bytes=99)),
        ({"MUNIFLOW_FORMATS": "jpeg, TIFF,"}, ImageLimits(formats=("jpeg", "tiff"))),
    ],
)
def test_the_environment_sets_each_limit(env, expected):
    assert read_env(ImageLimits, env) == expected


@pytest.mark.parametrize(
    "env",
    [
        {"MUNIFLOW_MAX_PIXELS": "0"},
        {"MUNIFLOW_MAX_PIXELS": str(PIXELS_BACKSTOP + 1)},
        {"MUNIFLOW_MAX_SCANS": "many"},
        {"MUNIFLOW_FORMATS": "gif"},
        {"MUNIFLOW_FORMATS": ","},
    ],
)
def test_a_wrong_variable_is_named(env):
    with pytest.raises(Invalid, match=next(iter(env))):
        read_env(ImageLimits, env)


def test_limits_travel_to_another_process():
    limits = ImageLimits(max_pixels=5, max_scans=6, max_encoded_bytes=7, formats=("png", "tiff"))
    assert read_env(ImageLimits, to_env(limits)) == limits
    assert ImageLimits.model_validate(limits.model_dump(mode="json")) == limits


@pytest.mark.parametrize("field", ImageLimits.model_fields)
def test_the_documentation_states_every_variable_with_its_default(field):
    page = (Path(__file__).parents[3] / "docs" / "reference" / "limits.md").read_text()
    (row,) = (line for line in page.splitlines() if f"| `{variable(field)}` |" in line)
    assert str(DEFAULT_LIMITS.model_dump(mode="json")[field]) in row
