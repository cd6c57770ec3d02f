"""The signal is about 45 s old when pods follow it: the notes warn of settings that react faster than that."""

import re

import pytest
from tests.deploy.chart import CHART, ROOT, of_kind, rendered, run
from tests.simulation.scaling.autoscaler import SYNC_S, Autoscaler, Behavior, Policy, Rules

DELAY_S = 45
START_S = 30


def warnings(*settings: str) -> list[str]:
    """The lines of the notes that warn."""
    flags = [part for setting in settings for part in ("--set", setting)]
    done = run("helm", "install", "try", CHART, "--dry-run=client", *flags)
    assert done.returncode == 0, done.stderr
    return re.findall(r"^WARNING: (.*)$", done.stdout.split("NOTES:")[1], re.MULTILINE)


@pytest.mark.parametrize("mode", ["none", "keda", "hpa"])
def test_the_defaults_keep_the_rule(mode):
    assert warnings(f"autoscaling.mode={mode}") == []


def test_a_horizon_that_is_shorter_than_the_signal_allows_is_named():
    assert warnings("autoscaling.mode=keda", "steps.blur.scaling.horizonSeconds=299") == [
        (
            "steps.blur.scaling.horizonSeconds: 299 is below 4 x (45 + startSeconds 30) = 300: "
            "replicas swing, or come too late"
        )
    ]
    assert warnings("autoscaling.mode=keda", "steps.blur.scaling.horizonSeconds=300") == []


def test_a_slow_start_needs_a_longer_horizon():
    (found,) = warnings("autoscaling.mode=hpa", "steps.blur.scaling.startSeconds=240")
    assert found.startswith("steps.blur.scaling.horizonSeconds: 900 is below 4 x (45 + startSeconds 240) = 1140")


def test_the_horizon_does_not_count_for_queue_lengths():
    short = "stepDefaults.scaling.horizonSeconds=20"
    assert warnings("autoscaling.mode=keda", "autoscaling.signal=messages", short) == []
    assert warnings(short) == [], "nothing scales"


def test_a_scale_in_that_is_faster_than_the_signal_is_named():
    for signal in ("forecast", "messages"):
        assert warnings(
            "autoscaling.mode=keda", f"autoscaling.signal={signal}", "autoscaling.scaleDown.stabilizationSeconds=74"
        ) == [
            (
                "autoscaling.scaleDown.stabilizationSeconds: 74 is below 45 + the longest startSeconds 30 = 75: "
                "replicas swing"
            )
        ]
    assert warnings("autoscaling.mode=keda", "autoscaling.scaleDown.stabilizationSeconds=75") == []


BURST = 4
"""Work comes once in so many steps of the loop: once a minute."""


def swing(horizon_s: float, window_s: float) -> tuple[int, int]:
    """Fewest and most replicas of the last half hour, with work for 4 replicas and a signal that is 45 s old.

    The scaler wants what waits done within the horizon; pods start after 30 s and go at once after the window.
    """
    behavior = next(iter(of_kind(rendered("hpa-forecast"), "HorizontalPodAutoscaler")))["spec"]["behavior"]
    down = Behavior(window_s, (Policy("Percent", 100, SYNC_S),))
    rules = Rules(Behavior.read(behavior["scaleUp"]), down, least=1, most=20, cooldown_s=0.0, target=horizon_s)
    scaler, late = Autoscaler(rules), int(DELAY_S / SYNC_S)
    asked, work_s, seen = [1], 0.0, [0.0] * (late + 1)
    for tick in range(480):
        work_s += 4 * SYNC_S * BURST if tick % BURST == 0 else 0.0
        seen.append(work_s)
        work_s = max(0.0, work_s - min(asked[-1 - int(START_S / SYNC_S) :]) * SYNC_S)
        asked.append(scaler.replicas(tick * SYNC_S, seen[-1 - late], asked[-1]))
    return min(asked[-120:]), max(asked[-120:])


def test_below_the_rule_replicas_swing():
    assert swing(20, 1) == (1, 20)


def test_a_window_by_the_rule_ends_the_swing_and_a_horizon_by_the_rule_also_the_waste():
    assert swing(20, DELAY_S + START_S) == (12, 12), "steady, and three times what the load needs"
    assert swing(4 * (DELAY_S + START_S), DELAY_S + START_S) == (4, 4)


def test_the_guide_states_the_rule_of_the_notes():
    text = " ".join((ROOT / "docs" / "guides" / "autoscale.md").read_text().split())
    assert f"4 x ({DELAY_S} + `startSeconds`)" in text
    assert f"{DELAY_S} + the longest `startSeconds`" in text
