"""Every form in which a batch may write a step, and the text that a wrong one gets."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from muniflow.compute.step import installed_steps
from muniflow.errors import Invalid
from muniflow.model.batch import read_step
from muniflow.model.operation import installed_operations, read_params
from muniflow_blur.params import OPERATION as BLUR
from muniflow_resize.params import OPERATION as RESIZE
from muniflow_split.params import OPERATION as SPLIT

OPERATIONS = {operation.name: operation for operation in (RESIZE, SPLIT, BLUR)}
SERVICES = Path(__file__).parents[3] / "services"

GAUSSIAN = {"method": "gaussian", "kernel": 5, "sigma": 0.0}
BILATERAL = {"method": "bilateral", "diameter": 9, "sigma_color": 75.0, "sigma_space": 75.0}


@pytest.mark.parametrize(
    ("entry", "params"),
    [
        (["resize", "200x300"], {"width": 200, "height": 300, "fit": "exact"}),
        (["resize", " 200 x 300 "], {"width": 200, "height": 300, "fit": "exact"}),
        (["resize", "200x"], {"width": 200, "fit": "exact"}),
        (["resize", "x300"], {"height": 300, "fit": "exact"}),
        (["resize", "50%"], {"percent": 50.0, "fit": "exact"}),
        (["resize", "12.5%"], {"percent": 12.5, "fit": "exact"}),
        (["resize", "1000%"], {"percent": 1000.0, "fit": "exact"}),
        ({"op": "resize", "width": 200, "height": 300}, {"width": 200, "height": 300, "fit": "exact"}),
        (
            {"op": "resize", "width": 200, "height": 300, "fit": "inside"},
            {"width": 200, "height": 300, "fit": "inside"},
        ),
        ({"op": "resize", "width": 200, "fit": "shrink"}, {"width": 200, "fit": "shrink"}),
        ({"op": "resize", "percent": 50}, {"percent": 50.0, "fit": "exact"}),
        ({"op": "resize", "width": 16384, "height": 8192}, {"width": 16384, "height": 8192, "fit": "exact"}),
        (["split", True], {"columns": 2, "rows": 2}),
        (["split", "2x2"], {"columns": 2, "rows": 2}),
        (["split", "3x2"], {"columns": 3, "rows": 2}),
        (["split", "1x2"], {"columns": 1, "rows": 2}),
        ({"op": "split"}, {"columns": 2, "rows": 2}),
        ({"op": "split", "columns": 3}, {"columns": 3, "rows": 2}),
        ({"op": "split", "columns": 64, "rows": 64}, {"columns": 64, "rows": 64}),
        (["blur", "gaussian"], GAUSSIAN),
        ({"op": "blur", "method": "gaussian"}, GAUSSIAN),
        ({"op": "blur", "method": "gaussian", "kernel": 5}, GAUSSIAN),
        ({"op": "blur", "method": "gaussian", "sigma": 2}, GAUSSIAN | {"sigma": 2.0}),
        ({"op": "blur", "method": "gaussian", "kernel": 99}, GAUSSIAN | {"kernel": 99}),
        (["blur", "updownsampling"], {"method": "updownsampling"}),
        ({"op": "blur", "method": "updownsampling"}, {"method": "updownsampling"}),
        (["blur", "bilateral"], BILATERAL),
        ({"op": "blur", "method": "bilateral", "diameter": 5}, BILATERAL | {"diameter": 5}),
        (["blur", "median"], {"method": "median", "kernel": 5}),
        ({"op": "blur", "method": "median", "kernel": 3}, {"method": "median", "kernel": 3}),
    ],
)
def test_a_form_and_what_it_means(entry, params):
    step = read_step(entry, OPERATIONS, "operations[0]")
    assert step.params == params
    # What is stored is read back as the same parameters.
    again = read_params(OPERATIONS[step.op], step.params)
    assert again.model_dump(mode="json", exclude_none=True) == params
    assert again.fan_out == step.fan_out


@pytest.mark.parametrize(
    ("entry", "place", "problem"),
    [
        (["resize", "big"], "", '\'big\' is no size; write "200x300" (exact), "200x"'),
        (["resize", "x"], "", "'x' is no size"),
        (["resize", ""], "", "'' is no size"),
        (["resize", "%"], "", "'%' is no size"),
        (["resize", "200X300"], "", "'200X300' is no size"),
        (["resize", "-5x5"], "", "'-5x5' is no size"),
        (["resize", "2.5x3"], "", "'2.5x3' is no size"),
        (["resize", "٣x٣"], "", "is no size"),
        (["resize", 200], "", "200 is no size"),
        (["resize", True], "", "True is no size"),
        (["resize", None], "", "None is no size"),
        (["resize", [200, 300]], "", "[200, 300] is no size"),
        (["resize", "0x300"], ".width", "greater than or equal to 1"),
        (["resize", "70000x10"], ".width", "less than or equal to 65535"),
        (["resize", "0%"], ".percent", "greater than 0"),
        (["resize", "1001%"], ".percent", "less than or equal to 1000"),
        (["resize", "20000x20000"], "", "20000x20000 is more than the limit of 134217728 pixels"),
        ({"op": "resize"}, "", "give `width`, `height`, both, or `percent`"),
        ({"op": "resize", "width": 5, "percent": 5}, "", "not both"),
        ({"op": "resize", "percent": 5, "fit": "inside"}, "", "`percent` always keeps the aspect ratio"),
        ({"op": "resize", "width": 5, "fit": "cover"}, ".fit", "'exact', 'inside' or 'shrink'"),
        ({"op": "resize", "width": "5"}, ".width", "valid integer"),
        ({"op": "resize", "width": 5.0}, ".width", "valid integer"),
        ({"op": "resize", "widht": 5}, ".widht", "unknown field"),
        (["split", False], "", "false splits nothing; leave the step out"),
        (["split", 4], "", '4 is no grid; write true (2x2, four quadrants) or "<columns>x<rows>"'),
        (["split", 1], "", "1 is no grid"),
        (["split", "3"], "", "'3' is no grid"),
        (["split", "x2"], "", "'x2' is no grid"),
        (["split", "true"], "", "'true' is no grid"),
        (["split", "0x2"], ".columns", "greater than or equal to 1"),
        (["split", "2x65"], ".rows", "less than or equal to 64"),
        (["split", "1x1"], "", "a grid of 1x1 splits nothing"),
        ({"op": "split", "columns": True}, ".columns", "valid integer"),
        ({"op": "split", "cols": 2}, ".cols", "unknown field"),
        (["blur", "gausian"], "", "'gausian' is no blur; write one of gaussian, updownsampling, bilateral, median"),
        (["blur", True], "", "True is no blur"),
        (["blur", ["median"]], "", "['median'] is no blur"),
        ({"op": "blur"}, ".method", "Field required"),
        ({"op": "blur", "method": "box"}, ".method", "'gaussian', 'updownsampling', 'bilateral' or 'median'"),
        ({"op": "blur", "method": ["median"]}, ".method", "Input should be"),
        ({"op": "blur", "method": "gaussian", "kernel": 4}, "", "`kernel` is odd, 3 to 99; 4 has no middle"),
        ({"op": "blur", "method": "median", "kernel": 1}, ".kernel", "greater than or equal to 3"),
        ({"op": "blur", "method": "median", "kernel": 101}, ".kernel", "less than or equal to 99"),
        ({"op": "blur", "method": "median", "kernel": None}, "", "median needs a `kernel`; leave it out for 5"),
        ({"op": "blur", "method": "median", "sigma": 1}, "", "median takes no `sigma`; it takes `kernel`"),
        ({"op": "blur", "method": "updownsampling", "kernel": 5}, "", "takes no `kernel`; it takes no parameters"),
        ({"op": "blur", "method": "gaussian", "sigma": -1}, ".sigma", "greater than or equal to 0"),
        ({"op": "blur", "method": "bilateral", "diameter": 26}, ".diameter", "less than or equal to 25"),
        ({"op": "blur", "method": "bilateral", "sigma_color": 0}, ".sigma_color", "greater than 0"),
        ({"op": "blur", "method": "gaussian", "sigma": float("nan")}, ".sigma", ""),
        ({"op": "resize", "percent": float("inf")}, ".percent", "less than or equal to 1000"),
    ],
)
def test_a_wrong_form_is_refused_by_its_place_with_what_is_allowed(entry, place, problem):
    with pytest.raises(Invalid) as caught:
        read_step(entry, OPERATIONS, "operations[7]")
    (fault,) = caught.value.faults
    assert fault.place == f"operations[7]{place}"
    assert problem in fault.problem


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_the_examples_of_an_operation_are_valid(operation):
    assert any(isinstance(example, list) for example in operation.examples)
    assert any(isinstance(example, dict) for example in operation.examples)
    for example in operation.examples:
        assert read_step(example, OPERATIONS, "example").op == operation.name


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_entry_points_name_the_operation_and_its_step(name):
    assert installed_operations()[name] is OPERATIONS[name]
    assert installed_steps()[name].operation is OPERATIONS[name]


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_are_read_without_numpy(name):
    code = f"import sys, muniflow_{name}.params; sys.exit('numpy' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_main_modules_differ_in_nothing_but_the_name():
    texts = {
        (SERVICES / name / f"muniflow_{name}" / "__main__.py").read_text().replace(name, "<name>")
        for name in OPERATIONS
    }
    assert len(texts) == 1


@pytest.mark.parametrize("operation", installed_operations().values(), ids=lambda operation: operation.name)
@settings(max_examples=50)
@given(
    st.from_regex(r"[0-9 ]{0,4}[x%. ]{0,2}[0-9 ]{0,11}[%x]? ?", fullmatch=True)
    | st.sampled_from([True, False, None, 1, 2.5, [], "", "x", "%", "50 %", "1 2 x 3", "12.5%", "gaussian", "median "])
)
def test_the_schema_of_short_forms_takes_what_is_read_and_little_more(operation, value):
    """What it takes beyond that has a number that is too small or too large."""
    fits = Draft202012Validator(dict(operation.params.SHORT)).is_valid(value)
    try:
        operation.params.from_short(value)
    except ValidationError:
        pass
    except ValueError:
        assert not fits
    else:
        assert fits
