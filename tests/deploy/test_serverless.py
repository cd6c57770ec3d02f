"""The examples of indexed jobs: each runs here, task by task, with the variables that its platform sets.

This stands in for the platforms: it shows that arguments, variables and exit codes fit together, not that a cloud takes
the file. The Kubernetes Job is also held to the schemas and to the pod security profile `restricted`.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import yaml
from tests.deploy import policies
from tests.deploy.chart import ROOT
from tests.deploy.resource_schemas import VERSIONS, problems
from tests.support.moto_server import moto_server

from muniflow.model.share import INDEX_VARIABLES
from muniflow.store.open import open_store
from muniflow_cli.commands import exits
from muniflow_cli.main import run

FOLDER = ROOT / "examples/serverless"
GUIDE = ROOT / "docs/guides/serverless.md"
NAME = "muniflow-demo"


class IndexedJob(NamedTuple):
    """What a platform makes of an example."""

    arguments: list[str]
    variables: Mapping[str, str]
    tasks: int


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def kubernetes() -> IndexedJob:
    spec = documents("kubernetes-job.yaml")[1]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    return IndexedJob(container["args"], variables_of(container["env"]), spec["completions"])


def aws_batch() -> IndexedJob:
    definition, job = (documents(f"aws-batch-{name}.json")[0] for name in ("job-definition", "job"))
    container = definition["containerProperties"]
    return IndexedJob(container["command"], variables_of(container["environment"]), job["arrayProperties"]["size"])


def cloud_run() -> IndexedJob:
    execution = documents("cloud-run-job.yaml")[0]["spec"]["template"]["spec"]
    (container,) = execution["template"]["spec"]["containers"]
    return IndexedJob(container["args"], variables_of(container["env"]), execution["taskCount"])


def variables_of(entries: list[dict[str, str]]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in entries}


PLATFORMS = dict(zip(("kubernetes", "aws", "cloud-run"), (kubernetes, aws_batch, cloud_run), strict=True))
INDEXES = dict(zip(PLATFORMS, INDEX_VARIABLES, strict=True))


@pytest.fixture
def here(monkeypatch, tmp_path):
    for variables in INDEX_VARIABLES:
        monkeypatch.delenv(variables.index_name, raising=False)
        monkeypatch.delenv(variables.count_name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_tasks_of_an_example_make_the_whole_batch(platform, here, monkeypatch):
    job, index = PLATFORMS[platform](), INDEXES[platform]
    for name, value in job.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MUNIFLOW_SOURCE_URL", str(ROOT / "examples/images"))
    monkeypatch.setenv("MUNIFLOW_OUTPUT_URL", "shares")
    if platform != "kubernetes":  # there the manifest itself tells how many there are
        monkeypatch.setenv(index.count_name, str(job.tasks))
    arguments = [str(FOLDER / "batch.json") if word.endswith("/demo.json") else word for word in job.arguments]
    arguments = [str(FOLDER / "batch.json") if word.endswith("/batch.json") else word for word in arguments]

    for task in range(job.tasks):
        monkeypatch.setenv(index.index_name, str(task))
        assert run([*arguments, "--jobs", "1"]) == exits.OK
    assert run(["run", str(FOLDER / "batch.json"), "--out", "whole", "--jobs", "1"]) == exits.OK

    assert run(["report", "merge", "shares/demo", "--out", "shares/demo/report.json"]) == exits.OK
    pictures = [
        {path.name: path.read_bytes() for path in (here / out / "demo").glob("*.jpg")} for out in ("shares", "whole")
    ]
    assert len(pictures[0]) == 24
    assert pictures[0] == pictures[1]


@pytest.fixture
def bucket(monkeypatch):
    """The name of a bucket on a server of our own that speaks S3."""
    with moto_server() as server:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)
        server.make_bucket("city")
        yield "city"


def test_the_aws_example_runs_as_it_is_against_an_object_store(here, bucket, monkeypatch, capsys):
    def filled(text: str) -> str:
        return text.replace("BUCKET", bucket).replace("REGION", "us-east-1")

    job, index = aws_batch(), INDEXES["aws"]
    monkeypatch.setenv(index.count_name, str(job.tasks))
    for name, value in job.variables.items():
        monkeypatch.setenv(name, filled(value))
    source = open_store(filled(job.variables["MUNIFLOW_SOURCE_URL"]))
    for path in (ROOT / "examples/images").iterdir():
        source.write(path.name, path.read_bytes())
    open_store(f"s3://{bucket}/batches").write("demo.json", (FOLDER / "batch.json").read_bytes())
    merge = ["report", "merge", f"s3://{bucket}/results/demo", "--out", f"s3://{bucket}/results/demo/report.json"]

    for task in (0, 1, 3):
        monkeypatch.setenv(index.index_name, str(task))
        assert run([*map(filled, job.arguments), "--jobs", "1"]) == exits.OK
    assert run(merge) == exits.INCOMPLETE
    assert "missing: 1 of 4 shares (3), with 1 of 6 images" in capsys.readouterr().out
    alone = [filled(word).replace("auto", "3/4") for word in job.arguments]
    assert run([*alone, "--jobs", "1"]) == exits.OK
    assert run(merge) == exits.OK

    results = open_store(f"s3://{bucket}/results")
    report = json.loads(bytes(results.read("demo/report.json")))
    assert [entry["image"] for entry in report["images"]] == list(range(6))
    written = {blob.key for blob in results.list("demo/")}
    assert {key for entry in report["images"] for key in entry["outputs"]} <= written
    assert list(here.iterdir()) == []


def test_the_kubernetes_job_tells_each_task_how_many_there_are():
    config, job = documents("kubernetes-job.yaml")

    assert variables_of(job["spec"]["template"]["spec"]["containers"][0]["env"])["MUNIFLOW_SHARDS"] == str(
        job["spec"]["completions"]
    )
    assert json.loads(config["data"]["batch.json"]) == json.loads((FOLDER / "batch.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_kubernetes_job_is_valid_and_restricted(version):
    found = documents("kubernetes-job.yaml")

    assert [problem for document in found for problem in problems(document, version)] == []
    # Not `policies.volumes`: a task ends by itself, so its folder on disk holds no node for long.
    for rule in (policies.restricted, policies.resources, policies.tokens):
        assert list(rule(found)) == []


def test_what_fails_for_good_is_not_tried_again():
    policy = documents("kubernetes-job.yaml")[1]["spec"]["podFailurePolicy"]["rules"]
    by_code = {rule["onExitCodes"]["values"][0]: rule["action"] for rule in policy if "onExitCodes" in rule}
    ended = documents("aws-batch-job-definition.json")[0]["retryStrategy"]["evaluateOnExit"]

    assert by_code == {exits.FAILED: "FailIndex", exits.USAGE: "FailJob"}
    assert [rule["onExitCode"] for rule in ended if rule["action"] == "EXIT"] == [str(exits.FAILED), str(exits.USAGE)]


def test_the_guide_has_every_variable_every_example_and_says_what_was_not_run():
    guide = GUIDE.read_text()

    for variables in INDEX_VARIABLES:
        assert f"`{variables.index_name}`" in guide
        assert f"`{variables.count_name}`" in guide
    for path in FOLDER.iterdir():
        assert f"(../../examples/serverless/{path.name})" in guide
    assert guide.count("not run in that cloud") == 2
