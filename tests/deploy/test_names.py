"""Names in the chart are the names that the code declares."""

import json
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pika import PlainCredentials
from tests.deploy.chart import CASES, CHART, ROOT, environment, files_of, load, of_kind, pods, rendered

import muniflow_coordinator.settings as coordinator
import muniflow_gateway.settings as gateway
from muniflow.model.operation import installed_operations
from muniflow.model.topology import topology, work_queues
from muniflow.runtime.addresses import is_loopback
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.clock import SYSTEM_CLOCK
from muniflow.runtime.http import parse_bind
from muniflow.runtime.settings import (
    BrokerSettings,
    GrantSettings,
    OwnerSettings,
    ProcessSettings,
    Settings,
    StoreSettings,
    read_env,
    variable,
)
from muniflow.transport.connection import nodes_of
from muniflow_coordinator.leadership.choose import lock_of
from muniflow_coordinator.leadership.file_lock import FileLock

RULES = ROOT / "deploy" / "prometheus" / "rules" / "scaling.yaml"


def known_variables() -> set[str]:
    import muniflow.worker.settings as worker

    models: set[type[Settings]] = {
        BrokerSettings,
        BudgetSettings,
        GrantSettings,
        OwnerSettings,
        ProcessSettings,
        StoreSettings,
    }
    for module in (coordinator, gateway, worker):
        models |= {item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Settings)}
    return {variable(field) for model in models for field in model.model_fields} | {variable("coordinator_url")}


def test_the_chart_has_a_stage_for_every_operation_of_the_code():
    values = load((CHART / "values.yaml").read_text())[0]
    assert set(values["steps"]) == set(installed_operations())


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_one_that_the_code_reads(case):
    known = known_variables()
    for name, pod in pods(rendered(case)).items():
        ours = {key for key in environment(pod) if key.startswith("MUNIFLOW_")}
        assert ours <= known, f"{name}: {ours - known}"


def test_the_gateway_is_closed_until_it_has_keys_and_reads_them_where_the_secret_is():
    pod = pods(rendered("default"))["Deployment/muniflow-gateway"]
    settings = read_env(gateway.GatewaySettings, environment(pod))
    host, port = parse_bind(settings.gateway_bind)
    assert not is_loopback(host)
    ports = {item["name"]: item["containerPort"] for item in pod["spec"]["containers"][0]["ports"]}
    assert ports == {"http": port, "metrics": 9100}
    (mount,) = (item for item in pod["spec"]["containers"][0]["volumeMounts"] if item["name"] == "api-keys")
    (volume,) = (item for item in pod["spec"]["volumes"] if item["name"] == "api-keys")
    assert settings.api_keys_file == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert volume["secret"]["optional"] is True
    assert volume["secret"]["secretName"] == "muniflow-api-keys"


def test_pods_wait_for_a_secret_of_api_keys_that_was_named():
    pod = pods(rendered("gcs-gateway-ingress"))["Deployment/muniflow-gateway"]
    (volume,) = (item for item in pod["spec"]["volumes"] if item["name"] == "api-keys")
    assert (volume["secret"]["secretName"], volume["secret"]["optional"]) == ("gateway-keys", False)


def test_the_lease_is_one_that_the_role_allows():
    documents = rendered("postgres-lease")
    variables = environment(pods(documents)["StatefulSet/imagery-coordinator"])
    settings = read_env(coordinator.CoordinatorSettings, {**variables, "MUNIFLOW_POD_NAME": "imagery-coordinator-0"})
    (role,) = of_kind(documents, "Role")
    assert settings.leader_election == "lease"
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"],
         "resourceNames": [settings.lease_name]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    ]  # fmt: skip


def test_the_default_coordinator_locks_its_file():
    variables = environment(pods(rendered("default"))["StatefulSet/muniflow-coordinator"])
    assert isinstance(lock_of(read_env(coordinator.CoordinatorSettings, variables), SYSTEM_CLOCK), FileLock)


def test_keda_watches_the_queues_that_the_code_declares():
    watched = {
        trigger["metadata"]["queueName"]
        for item in of_kind(rendered("keda-messages"), "ScaledObject")
        for trigger in item["spec"]["triggers"]
    }
    assert watched == {queue for name in installed_operations() for queue in work_queues(name)}


def test_a_chained_stage_watches_all_its_queues():
    stage = next(
        item for item in of_kind(rendered("chained-messages"), "ScaledObject") if "chain" in item["metadata"]["name"]
    )
    queues = [trigger["metadata"]["queueName"] for trigger in stage["spec"]["triggers"]]
    assert queues == [queue for name in ("resize", "split", "blur") for queue in work_queues(name)]


def test_the_rules_count_work_queues_and_no_others():
    text = RULES.read_text()
    pattern = re.search(r'queue=~"([^"]+)"', text)
    assert pattern
    everything = {queue.name for queue in topology(installed_operations()).queues}
    counted = {name for name in everything if re.fullmatch(pattern[1], name)}
    assert counted == {queue for name in installed_operations() for queue in work_queues(name)}


def test_hpa_metrics_adapter_rules_and_recording_rules_have_the_same_names():
    recorded = {rule["record"] for group in load(RULES.read_text())[0]["groups"] for rule in group["rules"]}
    exported = {"muniflow_stage_wanted_replicas"}
    adapter = load((ROOT / "deploy" / "prometheus" / "adapter-rules.yaml").read_text())[0]
    series = {rule["seriesQuery"].split("{")[0]: rule for rule in adapter["rules"]["external"]}
    assert series.keys() <= recorded | exported
    offered = {rule.get("name", {}).get("as", name) for name, rule in series.items()}
    for case in ("hpa-forecast", "hpa-messages"):
        for item in of_kind(rendered(case), "HorizontalPodAutoscaler"):
            assert {metric["external"]["metric"]["name"] for metric in item["spec"]["metrics"]} <= offered


def test_the_service_time_is_a_metric_that_the_workers_have():
    used = set(re.findall(r"\b(muniflow_\w+?)_(?:sum|count)\b", RULES.read_text()))
    declared = "".join(path.read_text() for path in (ROOT / "libs" / "common" / "muniflow").rglob("*.py"))
    assert used
    assert all(f'"{name}"' in declared for name in used), used


def broker_of(case: str, folder: Path) -> BrokerSettings:
    """The settings of a worker, as its pod has them."""
    for name, value in {"MUNIFLOW_AMQP_USERNAME": "step-blur", "MUNIFLOW_AMQP_PASSWORD": "secret"}.items():
        (folder / name).write_text(value)
    variables = environment(pods(rendered(case))["Deployment/muniflow-step-blur"])
    return read_env(BrokerSettings, {**variables, "MUNIFLOW_SECRETS_DIR": str(folder)})


def test_the_client_understands_what_the_chart_tells_it_of_the_broker(tmp_path):
    parameters = nodes_of(broker_of("default", tmp_path), "test")[0]
    assert (parameters.host, parameters.port) == ("muniflow-broker.imagery.svc", 5672)
    assert parameters.virtual_host == "muniflow"
    assert parameters.credentials == PlainCredentials("step-blur", "secret")
    assert parameters.ssl_options is None


def certificate_authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    begin = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_with_tls_the_client_trusts_the_given_authority_alone_and_checks_the_name(tmp_path):
    authority = tmp_path / "ca.crt"
    authority.write_bytes(certificate_authority())
    settings = broker_of("operator-tls-postgres-s3", tmp_path)
    assert settings.amqp_ca_file == "/etc/muniflow/broker-ca/ca.crt"
    parameters = nodes_of(settings.model_copy(update={"amqp_ca_file": str(authority)}), "test")[0]
    options = parameters.ssl_options
    assert options is not None
    # pika checks the certificate against the host of the URL where no other name is given.
    assert (parameters.port, options.server_hostname or parameters.host) == (5671, "muniflow-broker.imagery.svc")
    context = options.context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] == 1


def test_the_definitions_of_the_builtin_broker_are_json_with_one_user_per_service():
    config = next(
        item
        for item in of_kind(rendered("default"), "ConfigMap")
        if item["metadata"]["name"] == "muniflow-broker-config"
    )
    definitions = json.loads(config["data"]["definitions.json"])
    users = {user["name"] for user in definitions["users"]}
    assert users == {
        "coordinator",
        "gateway",
        "client",
        "monitor",
        *(f"step-{name}" for name in installed_operations()),
    }
    assert {item["user"] for item in definitions["permissions"]} == users


def test_the_documented_rights_are_the_rights_of_the_chart():
    text = (ROOT / "docs" / "guides" / "broker.md").read_text().replace("\\|", "|")
    config = next(
        item
        for item in of_kind(rendered("default"), "ConfigMap")
        if item["metadata"]["name"] == "muniflow-broker-config"
    )
    for rights in json.loads(config["data"]["definitions.json"])["permissions"]:
        if rights["user"] in {"step-split", "step-blur"}:
            continue  # the table shows one step for all
        row = next(line for line in text.splitlines() if line.startswith(f"| `{rights['user']}`"))
        for kind in ("configure", "write", "read"):
            assert f"`{rights[kind]}`" in row


def test_the_coordinator_knows_the_gateways_user_and_what_owners_may_read():
    found = pods(rendered("keda-messages-external"))
    variables = environment(found["StatefulSet/muniflow-coordinator"])
    settings = read_env(coordinator.CoordinatorSettings, variables)
    assert (settings.gateway_user, sorted(settings.operators)) == ("gateway", ["client", "ops"])
    assert settings.unnamed_senders == "refuse"
    for pod in ("StatefulSet/muniflow-coordinator", "Deployment/muniflow-gateway"):
        assert read_env(OwnerSettings, environment(found[pod])).source_grants == {"utrecht": ("utrecht/",)}
        budgets = read_env(BudgetSettings, environment(found[pod]))
        assert (budgets.of_batch("delft").images, budgets.of_day("delft").megapixels) == (2_000_000, 500_000)
        assert (budgets.of_batch("utrecht").images, budgets.of_day("utrecht").megapixels) == (0, 100_000)
    usual = environment(pods(rendered("default"))["StatefulSet/muniflow-coordinator"])
    default = read_env(BudgetSettings, usual)
    assert (default.of_batch("x"), default.of_day("x")) == (
        BudgetSettings().of_batch("x"),
        BudgetSettings().of_day("x"),
    )
    files = files_of(rendered("default"), "StatefulSet/muniflow-coordinator")
    assert files["MUNIFLOW_GATEWAY_USER"] == ("muniflow-amqp-gateway", "username")
    assert files["MUNIFLOW_CLIENT_USER"] == ("muniflow-amqp-client", "username")
