"""`muniflow plan`."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from muniflow_cli.commands.batch_options import deadline_option, with_options
from muniflow_cli.commands.output import examples, json_option, show_json

if TYPE_CHECKING:
    from muniflow.forecast.cost import Prices
    from muniflow.forecast.profile import Profile
    from muniflow.forecast.stage import Stages
    from muniflow.model.batch import Batch
    from muniflow.planning.fleet import Fleet
    from muniflow.planning.plan import Plan
    from muniflow.planning.sampling import Sampling
    from muniflow_cli.commands.target import Target

FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


class Files(NamedTuple):
    """What a plan is made with, each `None` where it is to be found out."""

    stages: Path | None
    profile: Path | None
    prices: Path | None


@click.command(
    epilog=examples(
        "muniflow plan examples/demo.json",
        "muniflow plan batch.json --stages stages.json --prices prices.json --deadline 2030-06-01T17:00:00+02:00",
        "muniflow plan batch.json --replicas resize=4,blur=8",
        "muniflow plan --grades",
        "muniflow plan batch.json --stages stages.json --prices prices.json --budget 40 --svg plan.svg",
    )
)
@click.argument("batch_file", metavar="[BATCH]", required=False, type=EXISTING)
@click.option("--source", metavar="STORE", help="Where images are read: a folder or s3://…; else as for `run`.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Plan `muniflow run` with so many processes.")
@click.option("--stages", "stages_file", metavar="FILE", type=FILE, help="Stages as MUNIFLOW_STAGES has them.")
@click.option("--profile", "profile_file", metavar="FILE", type=FILE, help="Service times, from `muniflow calibrate`.")
@click.option("--prices", "prices_file", metavar="FILE", type=FILE, help="Prices by node pool, for the cost.")
@click.option("--replicas", metavar="STAGE=N,…", help="Plan with these replicas.")
@deadline_option("The fewest replicas that end by then; else by the deadline of the batch")
@click.option("--budget", type=click.FloatRange(min=0), help="The fastest plan that costs no more.")
@click.option("--svg", "svg_file", metavar="FILE", type=FILE, help="Write the frontier as a picture, too.")
@click.option("--grades", is_flag=True, help="Show instead how well the forecasts of the running stack did.")
@json_option
def command(
    batch_file: Path | None,
    *,
    source: str | None,
    jobs: int | None,
    stages_file: Path | None,
    profile_file: Path | None,
    prices_file: Path | None,
    replicas: str | None,
    deadline: str | None,
    budget: float | None,
    svg_file: Path | None,
    grades: bool,
    as_json: bool,
) -> None:
    """Say when a batch ends, with how many replicas, and for how much, before it runs.

    Reads the sizes of its images from their headers; decodes nothing. Plans for the stages of a file, else for the
    running stack, else for `muniflow run` on this machine; --replicas alone plans one stage per operation.
    """
    from muniflow.model.batch import read_batch
    from muniflow.model.operation import installed_operations
    from muniflow_cli.commands.plan_output import show_plan, write_svg
    from muniflow_cli.planning.fleet import read_replicas

    if grades:
        _grades(as_json=as_json)
        return
    if batch_file is None:
        raise click.UsageError("Missing argument 'BATCH'.")
    batch = read_batch(with_options(batch_file.read_bytes(), deadline=deadline), installed_operations())
    require_one_wish(jobs=jobs, stages=stages_file, replicas=replicas, budget=budget)
    given = read_replicas(replicas) if replicas is not None else None
    files = Files(stages_file, profile_file, prices_file)
    plan, origins = _planned(batch, given, budget, files, source=source, jobs=jobs)
    if svg_file is not None:
        write_svg(plan, batch.batch_id, svg_file)
    if as_json:
        show_json(plan.document())
    else:
        show_plan(plan, batch.batch_id, origins)


def _planned(
    batch: "Batch",
    replicas: dict[str, int] | None,
    budget: float | None,
    files: Files,
    *,
    source: str | None,
    jobs: int | None,
) -> "tuple[Plan, list[str]]":
    """The plan, and where its stages and service times are from."""
    from muniflow.model.operation import installed_operations
    from muniflow.planning.plan import Wish, make_plan
    from muniflow_cli.commands.target import find_target
    from muniflow_cli.planning.fleet import LOCAL

    target = find_target()
    fleet = _fleet(batch, target, jobs=jobs, stages_file=files.stages, replicas=replicas)
    profile, origin = _profile(target, files.profile)
    plan = make_plan(
        batch,
        installed_operations(),
        _sample(batch, target, source),
        fleet,
        profile=profile,
        prices=None if files.prices is None else _prices(files.prices, fleet.stages),
        wish=Wish(replicas, batch.deadline_at, budget, fastest=fleet.stages[0].name == LOCAL),
        now_at=time.time(),
    )
    return plan, [f"stages: {fleet.origin}", f"service times: {origin}"]


def require_one_wish(**given: object) -> None:
    """Reject options that contradict each other.

    Raises:
        Invalid: naming both.
    """
    from muniflow.errors import Fault, Invalid

    for one, other in (("jobs", "stages"), ("jobs", "replicas"), ("jobs", "budget"), ("replicas", "budget")):
        if given[one] is not None and given[other] is not None:
            raise Invalid((Fault(f"--{other}", f"give it or --{one}, not both"),))


def _fleet(
    batch: "Batch", target: "Target", *, jobs: int | None, stages_file: Path | None, replicas: dict[str, int] | None
) -> "Fleet":
    from muniflow.errors import Invalid
    from muniflow.forecast.stage import read_stages
    from muniflow.planning.files import below, read_file
    from muniflow.planning.fleet import read_fleet
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.planning.fleet import local_fleet, named_fleet, step_fleet

    cores = len(os.sched_getaffinity(0))
    if stages_file is not None:
        try:
            return named_fleet(read_stages(read_file(stages_file)))
        except Invalid as invalid:
            raise below(str(stages_file), invalid) from None
    if jobs is None and target.coordinator_url is not None:
        return read_fleet(CoordinatorApi(target.coordinator_url).fleet(), "the running stack")
    if replicas is not None:
        return step_fleet(batch.route, replicas)
    return local_fleet(batch.route, cores, jobs)


def _grades(*, as_json: bool) -> None:
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.plan_grades import show_grades
    from muniflow_cli.commands.target import find_target

    listed = CoordinatorApi(find_target().require_coordinator()).forecasts()
    if as_json:
        show_json(listed)
    else:
        show_grades(listed)


def _profile(target: "Target", profile_file: Path | None) -> "tuple[Profile, str]":
    """Service times, and where they are from."""
    from muniflow.forecast.profile import Profile, read_profile
    from muniflow.planning.files import read_profile_file
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.planning.place import calibrated_here

    if profile_file is not None:
        return read_profile_file(profile_file), str(profile_file)
    if target.coordinator_url is not None:
        learned = CoordinatorApi(target.coordinator_url).profile()
        if learned is not None:
            return read_profile(learned), "what the running stack learned"
    here = calibrated_here(os.environ)
    if here is not None:
        return here[0], f"calibrated here ({here[1]})"
    return Profile(), "documented defaults, good to a factor of two; `muniflow calibrate` measures this machine"


def _prices(path: Path, stages: "Stages") -> "Prices":
    from muniflow.errors import Invalid
    from muniflow.forecast.cost import read_prices
    from muniflow.planning.files import below, read_file

    try:
        return read_prices(read_file(path), stages)
    except Invalid as invalid:
        raise below(str(path), invalid) from None


def _sample(batch: "Batch", target: "Target", source: str | None) -> "Sampling":
    from muniflow.images.limits import ImageLimits
    from muniflow.planning.sampling import sample_sizes
    from muniflow.runtime.settings import read_env
    from muniflow.store.open import open_store

    stores = target.stores
    source_store, output = open_store(source or stores.source_url), open_store(stores.output_url)
    return sample_sizes(batch, source_store, output, read_env(ImageLimits, os.environ))
