"""`muniflow calibrate`: figures of this machine, by the estimator of all forecasts."""

import json

import pytest

from muniflow.forecast.defaults import DECODE_S_PER_MP, MESSAGE_S, SOURCE_S, Costs
from muniflow.forecast.profile import read_profile
from muniflow_cli.commands import exits
from muniflow_cli.main import run
from muniflow_cli.planning import calibration
from muniflow_cli.planning.calibration import Traits, costs_of
from muniflow_cli.planning.readings import Reading

SIZES_MP = (0.25, 2.0, 8.0)


@pytest.mark.parametrize(
    ("kind", "name", "traits", "figure"),
    [
        ("decode", "jpg", Traits(), lambda costs: costs.decode_s_per_mp["jpg"]),
        ("encode", "webp", Traits(), lambda costs: costs.encode_s_per_mp["webp"]),
        ("operation", "blur:median", Traits(), lambda costs: costs.operations["blur:median"].s_per_mp_in),
        ("operation", "sharpen", Traits(), lambda costs: costs.operations["sharpen"].s_per_mp_in),
    ],
)
def test_costs_are_those_that_were_read(kind, name, traits, figure):
    fixed_s = calibration.FIXED_S[kind]
    into, made = (kind != "encode"), (kind != "decode")
    readings = [Reading(kind, name, mp * into, mp * made, fixed_s + 0.05 * mp) for mp in SIZES_MP]

    costs = costs_of(readings, {name.partition(":")[0]: traits})

    assert figure(costs) == pytest.approx(0.05, rel=0.01)


def test_what_a_file_costs_is_read_from_the_same_pixels_in_one_file_and_in_four():
    readings = [
        Reading("output", "jpg", 0.0, mp, 0.004 * mp + 0.0005 * outputs, outputs)
        for mp in SIZES_MP[:2]
        for outputs in (1, 4)
    ]

    assert costs_of(readings, {}).output_s == pytest.approx(0.0005, rel=0.05)


def test_messages_take_as_many_times_as_long_as_what_is_measured():
    """On a machine half as fast as the documented one they took twice as long, and batches of small images, too."""
    decode = [Reading("decode", name, mp, 0.0, SOURCE_S + 2 * DECODE_S_PER_MP[name] * mp) for name in ("jpg", "png")
              for mp in SIZES_MP]  # fmt: skip
    unknown = [Reading("operation", "sharpen", mp, mp, 9.0 * mp) for mp in SIZES_MP]
    assert costs_of([*decode, *unknown], {}).message_s == pytest.approx(2 * MESSAGE_S, rel=0.01)
    assert costs_of(unknown, {}).message_s == MESSAGE_S


def test_what_changes_sizes_costs_pixels_in_and_pixels_out():
    readings = [
        Reading("operation", "resize", mp, mp * scale, 0.002 * mp + 0.03 * mp * scale)
        for mp in SIZES_MP
        for scale in (0.02, 0.25)
    ]

    cost = costs_of(readings, {"resize": Traits(resizes=True)}).operations["resize"]

    assert cost.resizes
    assert (cost.s_per_mp_in, cost.s_per_mp_out) == pytest.approx((0.002, 0.03), rel=0.05)


def test_everything_that_is_installed_is_measured_and_kept_among_the_state(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUNIFLOW_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(calibration, "SIDES_PX", (64, 256))

    assert run(["calibrate", "--json"]) == exits.OK

    document = json.loads(capsys.readouterr().out)
    written = tmp_path / "state/profile.json"
    assert document["file"] == str(written)
    costs = read_profile(written.read_bytes()).costs
    assert {"resize", "split", "blur:gaussian", "blur:bilateral"} <= set(costs.operations)
    assert costs.operations["blur:bilateral"].s_per_mp_in > costs.operations["blur:gaussian"].s_per_mp_in
    assert costs.operations["resize"].resizes
    assert costs.operations["split"].by_reference
    assert costs.output_s != Costs().output_s
    assert document["machine"]["cores"] >= 1


def test_a_profile_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "SIDES_PX", (64,))

    assert run(["calibrate", "--out", str(tmp_path / "nowhere/profile.json")]) == exits.UNAVAILABLE

    assert "the file of the profile is unavailable" in capsys.readouterr().err
