"""A long list of measurements within a given time, so that `all` ends on a slow or busy machine, too."""

import time
from collections.abc import Callable, Sequence


def run_within(
    measurements: Sequence[tuple[str, Callable[[], object]]],
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Run measurements in order; none starts when `budget_s` seconds are over, and none ends the others by failing.

    Returns:
        The names of those that did not run, and of those that failed with the reason.
    """
    began_s, missing = clock(), []
    for name, measure in measurements:
        if clock() - began_s >= budget_s:
            missing.append(name)
            continue
        print(f"{name}, after {(clock() - began_s) / 60:.0f} minutes", flush=True)
        try:
            measure()
        except SystemExit as end:
            if isinstance(end.code, int):
                raise  # a signal: the whole run is to end
            print(f"{name}: {end}", flush=True)
            missing.append(f"{name} ({end})")
    return missing
