"""The chart over a matrix of values: accepted by helm, by Kubernetes' schemas and by our policies."""

import re
import tarfile

import pytest
import yaml
from tests.deploy.chart import CASES, CHART, VALUES, Document, load, rendered, rendered_text, run, template
from tests.deploy.policies import POLICIES
from tests.deploy.resource_schemas import VERSIONS, problems

SNAPSHOT = VALUES.parent / "snapshots" / "default.yaml"


def test_the_matrix_is_as_wide_as_it_says():
    assert len(CASES) >= 12


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_is_content(case):
    done = run("helm", "lint", "--strict", CHART, "--values", VALUES / f"{case}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_document_fits_its_schema(case, version):
    assert [problem for document in rendered(case) for problem in problems(document, version)] == []


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("case", CASES)
def test_every_policy_holds(case, policy):
    assert list(policy(rendered(case))) == []


def test_alerts_link_to_where_the_runbooks_are():
    wiki = "https://wiki.example.org/muniflow/operations"
    for settings, expected in (((), "docs/guides/operate.md"), (("monitoring.rules.runbookUrl=" + wiki,), wiki)):
        flags = [part for setting in settings for part in ("--set", setting)]
        documents = load(template("--values", VALUES / "keda-prometheus.yaml", *flags).stdout)
        groups = [
            *(item["spec"]["groups"] for item in documents if item["kind"] == "PrometheusRule"),
            *(yaml.safe_load(item["data"]["alerts.yaml"])["groups"] for item in documents
              if item["kind"] == "ConfigMap" and "alerts.yaml" in item.get("data", {})),
        ]  # fmt: skip
        links = [rule["annotations"]["runbook_url"] for of in groups for group in of for rule in group["rules"]
                 if "alert" in rule]  # fmt: skip
        assert len(links) > 30, "in both forms"
        assert {link.partition("#")[0] for link in links} == {expected}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (("stpes.resize.replicas=2",), "'stpes' not allowed"),
        (("broker.builtin.imagee=x",), "'imagee' not allowed"),
        (("steps.blur.gpu.enable=true",), "'enable' not allowed"),
        (("steps.Blur.replicas=1",), "does not match pattern"),
        (("coordinator.keptDays=0",), "keptDays"),
        (("autoscaling.mode=both",), "must be one of 'keda', 'hpa', 'none'"),
        (("autoscaling.signal=work",), "must be one of 'forecast', 'messages'"),
        (("steps.blur.scaling.drainSeconds=60",), "'drainSeconds' not allowed"),
        (("steps.blur.scaling.horizonSeconds=0",), "/steps/blur/scaling/horizonSeconds"),
        (("broker.kind=external",), "/broker/external/existingSecret"),
        (("store.kind=s3", "store.urls.source=s3://b/s"), "/store/urls/"),
        (("store.kind=gcs", "store.urls.source=s3://b/s", "store.urls.work=gs://b/w", "store.urls.output=gs://b/o"),
         "/store/urls/source"),
        (("database.kind=postgres",), "/database/postgres/existingSecret"),
        (("coordinator.replicas=2",), "coordinator.replicas: 2 needs database.kind postgres"),
        (("coordinator.replicas=0",), "/coordinator/replicas"),
        (("coordinator.replicas=6", "database.kind=postgres", "database.postgres.existingSecret=l"),
         "/coordinator/replicas"),
        (("coordinator.leaderElection=lease",), "coordinator.leaderElection: lease needs database.kind postgres"),
        (("coordinator.leaderElection=raft",), "must be one of 'database', 'lease'"),
        (("broker.clusterOperator.replicas=2",), "/broker/clusterOperator/replicas"),
        (("stepDefaults.graceExtraSeconds=5",), "/stepDefaults/graceExtraSeconds"),
        (("steps.blur.nodeSelector=x",), "/steps/blur"),
        (("gateway.apiKeysSecret=k",), "'apiKeysSecret' not allowed"),
        (("gateway.ingress.enabled=true",), "gateway.ingress.host"),
        (("gateway.scaling.enabled=true", "gateway.scaling.min=9"), "gateway.scaling.min"),
        (("broker.tls.enabled=true",), "broker.tls.certificateSecret"),
        (("autoscaling.mode=keda", "steps.blur.scaling.min=9", "steps.blur.scaling.max=3"), "steps.blur.scaling.min"),
        (("autoscaling.mode=keda", "autoscaling.signal=messages", "broker.kind=external",
          "broker.external.existingSecret=r"),
         "broker.external.managementUrl"),
        (("autoscaling.mode=keda", "steps.blur.scaling.fallbackReplicas=21"),
         "steps.blur.scaling.fallbackReplicas: 21 is above max (20)"),
        (("steps.blur.scaling.fallbackReplicas=-1",), "/steps/blur/scaling/fallbackReplicas"),
        (("stepDefaults.scaling.fallbackReplicas=many",), "/stepDefaults/scaling/fallbackReplicas"),
        (("autoscaling.mode=hpa", "steps.blur.scaling.fallbackReplicas=1"),
         "steps.blur.scaling.fallbackReplicas: needs autoscaling.mode keda"),
        (("autoscaling.keda.fallbackReplicas=1",), "'fallbackReplicas' not allowed"),
        (("webhooks.hosts={hooks.example.org}",), "webhooks.existingSecret: required with webhooks.hosts"),
        (("webhooks.hosts={https://hooks.example.org}",), "/webhooks/hosts/0"),
        (("signing.keys=none", "signing.unsignedTasks=refuse"), "signing.unsignedTasks: refuse needs signing.keys"),
        (("signing.keys=mine",), "must be one of 'generate', 'existing', 'none'"),
        (("broker.external.managementUrl=http://me:secret@rabbit/",), "/broker/external/managementUrl"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_and_named(settings, complaint):
    done = template(*(part for setting in settings for part in ("--set", setting)))
    assert done.returncode != 0
    assert complaint in done.stderr.replace('"', "'").replace("additional properties ", "")


def test_the_default_rendering_is_the_one_reviewed():
    # Passwords are made anew by each rendering without a cluster.
    found = re.sub(
        r"(password|AWS_SECRET_ACCESS_KEY|(?:signing|verify)-keys.pem): (?:\S{20,}|\".+\")",
        r"\1: <made at install>",
        rendered_text("default"),
    )
    assert found == SNAPSHOT.read_text(), "if the change is meant: tools/deploy-render"


def test_passwords_are_made_anew_for_each_installation():
    first, second = (_secrets(yaml.safe_load_all(template().stdout)) for _ in range(2))
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
    assert len(set(first.values())) == len(first)


def _secrets(documents):
    return {
        (document["metadata"]["name"], key): value
        for document in documents
        if document and document["kind"] == "Secret"
        for key, value in document["data"].items()
        if key in {"password", "AWS_SECRET_ACCESS_KEY", "signing-keys.pem"}
    }


def test_notes_name_three_commands_and_nothing_is_left_unfilled():
    done = run("helm", "install", "try", CHART, "--dry-run=client", "--namespace", "somewhere")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.split("NOTES:")[1]
    assert re.findall(r"^(\d)\. ", notes, re.MULTILINE) == ["1", "2", "3"]
    assert "helm test try --namespace somewhere" in notes
    assert "service/try-muniflow-coordinator" in notes
    assert "service/try-muniflow-gateway 8080" in notes
    assert "create secret generic try-muniflow-api-keys --from-file=api-keys" in notes
    assert "<no value>" not in done.stdout


def test_a_new_operation_is_one_entry():
    before = {(item["kind"], item["metadata"]["name"]) for item in rendered("default")}
    done = template("--set", "steps.sharpen.replicas=2")
    after = {(item["kind"], item["metadata"]["name"]) for item in _load(done.stdout)}
    assert after - before == {
        ("Deployment", "muniflow-step-sharpen"),
        ("ServiceAccount", "muniflow-step-sharpen"),
        ("PodDisruptionBudget", "muniflow-step-sharpen"),
        ("Secret", "muniflow-amqp-step-sharpen"),
        ("Secret", "muniflow-store-step-sharpen"),
    }
    assert before <= after


def _load(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document]


def test_a_packaged_chart_carries_what_its_links_lead_to(tmp_path):
    done = run("helm", "package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        names = archive.getnames()
    assert "muniflow/files/rules/scaling.yaml" in names
    assert {"muniflow/files/test/batch.py", "muniflow/files/test/gateway.py"} <= set(names)
