"""Every values file and overlay against the newest API server: a strict server-side dry run, profile `restricted`.

Nothing stands in here: API server, admission and the definitions of KEDA, the Prometheus operator and the Gateway API
are the real ones. RabbitMQ's operators are not to be had: their kinds are left out, and counted.
"""

import re
from collections.abc import Iterator, Sequence

import pytest
import yaml
from tests.cluster.api import Refused
from tests.cluster.bench import Bench
from tests.cluster.objects import Objects
from tests.deploy.chart import CASES, Document, load, name_of, of_kind, rendered
from tests.deploy.test_kustomize import PATHS, built
from tests.deploy.test_presets import PRESETS, installed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
NOT_TO_BE_HAD = "rabbitmq.com/"
WANTED = (
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
)


@pytest.fixture(scope="module")
def objects(api_server: Bench) -> Objects:
    """All kinds, the operators' own included."""
    found = Objects(api_server.api).discover()
    for path in sorted((api_server.plane.programs / "definitions").glob("*.yaml")):
        found.apply(yaml.safe_load(path.read_text()))
    eventually(lambda: set(WANTED) <= found.discover().paths.keys(), what="the operators' kinds")
    return found


def refused(objects: Objects, documents: Sequence[Document]) -> Iterator[str]:
    """What the API server does not take, or warns of."""
    objects.namespaces(documents)
    for document in of_kind(documents, "ServiceAccount"):
        objects.apply(document)  # a pod is admitted only when its account is there
    for document in documents:
        if document["apiVersion"].startswith(NOT_TO_BE_HAD):
            continue
        if not objects.knows(document):
            yield f"{name_of(document)}: no such kind in {document['apiVersion']}"
            continue
        try:
            objects.apply(document, dryRun="All", fieldValidation="Strict")
        except Refused as no:
            yield f"{name_of(document)}: {no}"
        yield from (f"{name_of(document)}: warning: {warning}" for warning in objects.api.warnings)


@pytest.mark.parametrize("case", CASES)
def test_every_values_file_is_taken(case, objects):
    assert list(refused(objects, rendered(case))) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_taken(preset, objects):
    assert list(refused(objects, installed(preset))) == []


@pytest.mark.parametrize("path", PATHS)
def test_every_overlay_is_taken(path, objects):
    assert list(refused(objects, built(path))) == []


def test_a_field_that_does_not_exist_and_a_pod_that_runs_as_root_are_seen(objects):
    """The dry run is strict: otherwise the tests above say nothing."""
    text = yaml.safe_dump(dict(next(one for one in rendered("default") if one["kind"] == "Deployment")))
    misspelt, root = (
        load(text.replace("revisionHistoryLimit", "revisionHistory")),
        load(re.sub("runAsNonRoot: true", "runAsNonRoot: false", text)),
    )
    assert "revisionHistory" in "".join(refused(objects, misspelt))
    assert "would violate PodSecurity" in "".join(refused(objects, root))
