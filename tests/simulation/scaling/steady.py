"""A steady stream of equal batches: how often a stage changes its direction."""

from collections.abc import Sequence
from itertools import pairwise

from tests.simulation.scaling.city import NOISE
from tests.simulation.scaling.forecaster import Forecaster
from tests.simulation.scaling.grade import city, stages
from tests.simulation.scaling.workload import CONSTANT_S, SECONDS_PER_MP, Job

from muniflow.forecast.stage import EFFICIENCY

MEGAPIXELS = 4.0
HALF_HOUR_S = 1800.0
WARM_UP_S = 3600.0


def directions(replicas: float, every_s: float, hours: int = 3, noise: float = 0.0) -> tuple[int, int, float]:
    """Send batches to `blur` that keep so many replicas busy, on machines whose pace has so much noise.

    Returns:
        The most changes of direction in half an hour after the first hour, all of them together, and the part of the
        batches that ended late.
    """
    images = max(round(every_s * replicas * EFFICIENCY / (CONSTANT_S + SECONDS_PER_MP["blur"] * MEGAPIXELS)), 1)
    end_s = WARM_UP_S + hours * 3600.0
    jobs = [Job(f"b{n}", n * every_s, images, MEGAPIXELS, ("blur",), n * every_s + 900, has_deadline=False, luck=1.0)
            for n in range(int(end_s / every_s))]  # fmt: skip
    of = stages(most=500)
    one = city(of, Forecaster(of).turn)
    one.noise = noise
    flows = one.run(jobs, end_s)
    settled = [change for change in one.history["blur"] if change[0] > WARM_UP_S]
    due = [flow for flow in flows if WARM_UP_S < flow.job.due_s < end_s]
    late = sum(flow.ended_s is None or flow.ended_s > flow.job.due_s for flow in due)
    return most_turns(settled, HALF_HOUR_S), len(turns(settled)), late / len(due)


def turns(history: Sequence[tuple[float, int]]) -> list[float]:
    """When the direction of change changed."""
    changes = [(at_s, after > before) for (_, before), (at_s, after) in pairwise(history)]
    return [at_s for (_, up), (at_s, now_up) in pairwise(changes) if up != now_up]


def most_turns(history: Sequence[tuple[float, int]], window_s: float) -> int:
    """The most changes of direction within the window."""
    found = turns(history)
    return max((sum(at_s <= other < at_s + window_s for other in found) for at_s in found), default=0)


def main() -> None:
    """Print a table: small stages and large ones, without noise and with that of the weeks."""
    for noise in (0.0, NOISE):
        for replicas in (2.5, 3.5, 6, 10, 20, 50, 100):
            for every_s in (30.0, 120.0):
                most, all_of_them, late = directions(replicas, every_s, noise=noise)
                print(f"noise {noise}, {replicas} replicas, every {every_s:.0f} s: at most {most} in half an hour, "
                      f"{all_of_them} in three hours, {late:.1%} late", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
