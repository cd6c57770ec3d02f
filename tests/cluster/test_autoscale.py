"""HPA on the signals `forecast` and `messages`: one batch, from the fewest replicas to the most and back.

Real: the HPA controller, scheduler, chart, coordinator, broker, Prometheus with our rules, and a worker process for
each pod. Stands in: `metrics_api` for prometheus-adapter, the process kubelet for nodes, naps for pixels. The window of
`scaleDown` is shorter than the chart's default, so that a run ends within minutes. `--cluster-picture` draws the
runs into docs/images.
"""

from collections.abc import Iterator

import pytest
from tests.cluster.batches import Batch, wanted
from tests.cluster.bench import STAGES, Bench, values
from tests.cluster.recording import Recording, picture
from tests.cluster.supplies import Supplies
from tests.deploy.chart import ROOT
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
MAX = 6
IMAGES = 500
NAPS_S = {"shrink": 0.8, "cut": 0.8, "soften": 0.8}
"""`soften` has two tasks of each image: twice the work."""
START_S = 5
HORIZON_S = 200
"""4 x (45 + START_S): the shortest that the guide allows."""
SCALE_DOWN = {"stabilizationSeconds": 60, "percent": 50, "periodSeconds": 15}
MESSAGES = 40
"""Of one replica, for the signal `messages`: the chart's default."""
SYNC_S = 20.0
"""One look of the HPA controller, which is every 15 s, on a busy machine."""
UP_S = {"forecast": 120.0, "messages": 200.0}
"""From the batch to `NEEDED` replicas of the last stage: the signal's delay, a look, starts; with `messages` each stage
waits for those before it."""
NEEDED = 4
END_S = 1.5 * HORIZON_S
"""The batch is due after `HORIZON_S`; a busy machine may be late."""
DOWN_S = 240.0
"""From the end of the batch to the fewest: the signal's delay, the window, three halvings, drains."""
TURNS = {"forecast": 1, "messages": 3}
"""Changes of direction that a stage may make: up and then down is one."""
FEWEST = dict.fromkeys(STAGES, (1, 1))
PICTURES = ROOT / "docs" / "images"


@pytest.fixture(params=["forecast", "messages"])
def signal(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def release(bench: Bench, supplies: Supplies, signal: str) -> Iterator[Supplies]:
    scaling = {"max": MAX, "horizonSeconds": HORIZON_S, "startSeconds": START_S, "messagesPerReplica": MESSAGES}
    autoscaling = {"mode": "hpa", "signal": signal, "scaleDown": SCALE_DOWN}
    bench.install(values(autoscaling=autoscaling, stepDefaults={"scaling": scaling}))
    yield supplies
    bench.uninstall()
    supplies.empty()


def until_fewest(bench: Bench, limit_s: float) -> None:
    eventually(lambda: bench.scaled() == FEWEST, limit_s, lambda: f"one of each: {bench.scaled()}", every_s=0.5)


def test_from_the_fewest_to_the_most_and_back(release, signal, bench, capsys, request):
    until_fewest(bench, DOWN_S)
    few = Batch(release, f"few-{signal}", 8, NAPS_S)  # so that the coordinator knows how long a task takes
    few.send()
    eventually(lambda: few.ended, 120, lambda: f"{few.status()}", every_s=0.5)
    until_fewest(bench, DOWN_S)

    batch = Batch(release, f"many-{signal}", IMAGES, NAPS_S)
    with Recording(bench.scaled, lambda: wanted(bench) if signal == "forecast" else {}) as recording:
        batch.send()
        recording.mark("sent")
        eventually(lambda: batch.ended, 600, lambda: f"{batch.status()} {bench.scaled()}", every_s=1.0)
        recording.mark("ended")
        until_fewest(bench, DOWN_S)
        recording.mark("fewest again")
    if request.config.getoption("--cluster-picture", default=False):
        drawn = picture("Replicas on the bench", {f"Signal {signal}": recording}, STAGES)
        (PICTURES / f"autoscale-{signal}.svg").write_text(drawn)
    with capsys.disabled():
        print(f"\n{signal}: {batch.figures()}; naps {batch.work_s:.0f} s; {recording.figures(STAGES)}")  # noqa: T201
    judge(recording, signal)


def judge(recording: Recording, signal: str) -> None:
    """Against the bounds above."""
    sent_s = recording.marks["sent"]
    assert recording.marks["ended"] - sent_s <= END_S
    for stage in STAGES:
        assert recording.most(stage) <= MAX
        assert recording.turns(stage) <= TURNS[signal], f"{stage} swings"
    many_s = recording.first("soften", ready=NEEDED)
    assert many_s is not None
    assert many_s - sent_s <= UP_S[signal]
    if signal == "forecast":
        assert recording.most("soften") == MAX
        grew_s = [recording.first(stage, asked=2) for stage in STAGES]
        known_s = [at_s for at_s in grew_s if at_s is not None]
        assert len(known_s) == len(STAGES)
        assert max(known_s) - min(known_s) <= SYNC_S, "all stages of the route grow at once"
