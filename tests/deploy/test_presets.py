"""values-town.yaml and values-city.yaml: the sizes of docs/guides/deploy.md, ready to install."""

import re
from functools import cache

import pytest
import yaml
from tests.deploy.chart import CHART, ROOT, Document, environment, load, of_kind, pods, run, template
from tests.deploy.placement import UNITS, quantity
from tests.deploy.policies import POLICIES
from tests.deploy.resource_schemas import VERSIONS, problems

SITE = ("store.urls.source=s3://city/source", "store.urls.work=s3://city-work/work", "store.urls.output=s3://city/out")
"""What a city has to say itself: where its pictures are."""
PRESETS = {"town": (), "city": SITE}


def arguments(preset: str, *settings: str) -> list[str]:
    flags = [part for setting in settings for part in ("--set", setting)]
    return ["--values", str(CHART / f"values-{preset}.yaml"), *flags]


@cache
def installed(preset: str) -> tuple[Document, ...]:
    """What an installation with the preset has."""
    done = template(*arguments(preset, *PRESETS[preset]))
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def row(start: str, preset: str) -> str:
    """A size of the guide's table."""
    text = (ROOT / "docs" / "guides" / "deploy.md").read_text()
    (found,) = re.findall(rf"^\| {re.escape(start)}[^|]*\|([^|]*)\|([^|]*)\|$", text, re.MULTILINE)
    return str(found[list(PRESETS).index(preset)])


def requests(part: str, preset: str) -> Document:
    found: Document = pods(installed(preset))[part]["spec"]["containers"][0]["resources"]
    return found


def test_every_preset_of_the_chart_is_tried():
    assert {path.stem.removeprefix("values-") for path in CHART.glob("values-*.yaml")} == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_good_installation(preset):
    documents = installed(preset)
    assert [line for policy in POLICIES for line in policy(documents)] == []
    assert [line for version in VERSIONS for item in documents for line in problems(item, version)] == []
    done = run("helm", "lint", "--strict", CHART, *arguments(preset, *PRESETS[preset]))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_only_what_differs_from_the_defaults(preset):
    own = yaml.safe_load((CHART / f"values-{preset}.yaml").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert list(_same(own, defaults)) == []


def _same(own, defaults, path=""):
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            yield from _same(value, defaults[key], f"{path}{key}.")
        elif value == defaults.get(key, ...):
            yield f"{path}{key}"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_guide_has_the_sizes_of_the_preset(preset):
    worker = environment(pods(installed(preset))["Deployment/muniflow-step-blur"])
    limits = requests("Deployment/muniflow-step-blur", preset)
    workers = row("workers", preset)
    assert f"{worker['MUNIFLOW_CHILDREN']} child" in workers
    stage = template(*arguments(preset, *PRESETS[preset], "autoscaling.mode=keda"))
    most = {item["spec"]["maxReplicaCount"] for item in of_kind(load(stage.stdout), "ScaledObject")}
    assert all(f"`max` {number} " in workers for number in most), most
    assert quantity(limits["requests"]["cpu"]) == int(worker["MUNIFLOW_CHILDREN"])
    needed = int(worker["MUNIFLOW_CHILDREN"]) * int(worker["MUNIFLOW_MEMORY_LIMIT_MB"]) + 512
    assert quantity(limits["limits"]["memory"]) >= needed * UNITS["Mi"]
    coordinator = pods(installed(preset))["StatefulSet/muniflow-coordinator"]
    assert row("`coordinator.windowGiB`", preset).strip() == environment(coordinator)["MUNIFLOW_WINDOW_GIB"]


def test_a_town_is_one_node_of_everything_with_room_for_its_window():
    documents = installed("town")
    assert not of_kind(documents, "ScaledObject", "HorizontalPodAutoscaler", "RabbitmqCluster")
    (store,) = (item for item in of_kind(documents, "StatefulSet") if item["metadata"]["name"] == "muniflow-store")
    room = store["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    assert quantity(room) >= 2 * 32 * UNITS["Gi"], "the window, and as much again for what is removed late"


def test_a_city_scales_and_survives_the_loss_of_a_node():
    documents = installed("city")
    (cluster,) = of_kind(documents, "RabbitmqCluster")
    assert cluster["spec"]["replicas"] == 3
    assert cluster["spec"]["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}
    assert {item["metadata"]["name"] for item in of_kind(documents, "ScaledObject")} == {
        f"muniflow-step-{step}" for step in ("blur", "resize", "split")
    }
    assert [item["metadata"]["name"] for item in of_kind(documents, "HorizontalPodAutoscaler")] == ["muniflow-gateway"]
    (coordinator,) = of_kind(documents, "StatefulSet")
    assert coordinator["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "50Gi"
    assert requests("StatefulSet/muniflow-coordinator", "city") == {
        "requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}
    }  # fmt: skip


def test_a_city_must_say_where_its_pictures_are():
    done = template(*arguments("city"))
    assert done.returncode != 0
    assert "/store/urls/source" in done.stderr


def test_the_chart_says_which_preset_to_begin_with():
    text = (CHART / "README.head.md").read_text()
    assert all(f"values-{preset}.yaml" in text for preset in PRESETS)
    assert all(f"values-{preset}.yaml" in (ROOT / "docs" / "guides" / "deploy.md").read_text() for preset in PRESETS)
