"""Dockerfile, compose.yaml, skaffold.yaml and the generated README agree with each other and with the code."""

import json
import re
import subprocess
import tomllib

import pytest
import yaml
from tests.deploy.chart import CHART, ROOT, script, template

from muniflow.model.operation import installed_operations
from muniflow.model.topology import step_queue

CONTROL = ("coordinator", "gateway")
SERVICES = (*CONTROL, *sorted(installed_operations()))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SKAFFOLD = yaml.safe_load((ROOT / "skaffold.yaml").read_text())


def stages() -> dict[str, str]:
    deps = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(deps[2::3], deps[3::3], strict=True))


def test_the_readme_of_the_chart_is_generated():
    done = script("tools/deploy-chart-readme", "--check")
    assert done.returncode == 0, done.stderr


def test_every_value_is_in_the_schema_and_the_other_way_round():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(_paths(values, schema, schema)) == set()


def _paths(values, schema, root, path=""):
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    known = schema.get("properties")
    if known is None or not isinstance(values, dict):
        return
    yield from (
        f"{path}.{key}: not in values.yaml" for key in known.keys() - values.keys() - {"global", "requests", "limits"}
    )
    yield from (f"{path}.{key}: not in the schema" for key in values.keys() - known.keys())
    for key in known.keys() & values.keys():
        yield from _paths(values[key], known[key], root, f"{path}.{key}")


def test_every_image_runs_as_a_user_without_a_name_and_gets_signals_itself():
    for name in ("control", "step", "gpu", "run"):
        assert re.findall(r"^USER (.*)$", stages()[name], re.MULTILINE) == ["10001:0"]
    assert 'ENTRYPOINT ["muniflow-service"]' in stages()["runtime"]
    assert "'exec python3 -m" in stages()["runtime"]
    assert "HEALTHCHECK" in stages()["runtime"]
    assert "org.opencontainers.image.licenses" in stages()["runtime"]


def test_the_image_of_indexed_jobs_carries_what_the_command_line_needs():
    text = stages()["run"]

    assert "MUNIFLOW_MODULE=muniflow_cli.main" in text
    assert "HEALTHCHECK NONE" in text  # a task that ends serves no /livez
    for folder in ("packages", "library", "cli", "service"):
        assert f"/opt/{folder} /opt/{folder}" in text
        assert f"/opt/{folder}" in re.findall(r"PYTHONPATH=(\S+)", text)[0].split(":")


def test_the_build_of_the_command_line_has_the_file_that_says_its_version():
    project = tomllib.loads((ROOT / "libs" / "cli" / "pyproject.toml").read_text())
    path = (ROOT / "libs" / "cli" / project["tool"]["hatch"]["version"]["path"]).resolve().relative_to(ROOT)
    assert f"COPY {path} {path.parent}/" in stages()["cli"]


def test_every_folder_that_goes_into_an_image_is_finished():
    """`finish` makes it the same in every build; what is installed for the build alone needs none."""
    folders = re.findall(r"--target (/opt/\w+)", DOCKERFILE)
    finished = re.findall(r"finish (/opt/\w+)", DOCKERFILE)
    assert finished == [folder for folder in folders if folder != "/opt/build"]


def test_every_install_is_hashed_or_ours():
    for line in re.findall(r"pip install (.*)", DOCKERFILE):
        assert "--require-hashes" in line or ("--no-deps" in line and "--no-build-isolation" in line), line


@pytest.mark.parametrize("name", ["build", "pixels", "run", *CONTROL])
def test_the_requirements_that_images_install_are_pinned_with_hashes(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    for line in filter(lambda line: line and not line.startswith("#"), text.splitlines()):
        assert "==" in line, line
        assert "--hash=sha256:" in line, line


def test_coordinator_and_gateway_carry_no_opencv_and_know_operations_by_their_contract_alone():
    for service in CONTROL:
        text = (ROOT / "requirements" / f"{service}.txt").read_text()
        assert not re.search(r"^(opencv|numpy)", text, re.MULTILINE)
    copied = re.search(r'cp "\$package/__init__.py" "\$package/(\w+).py"', stages()["picked-contracts"])
    assert copied
    assert copied[1] == "params"
    for name in installed_operations():
        assert (ROOT / "services" / name / f"muniflow_{name}" / "params.py").exists()


def test_what_is_copied_from_the_context_is_there_for_every_service():
    # Skaffold expands these lines for each image, also in stages that the image does not need.
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source


def test_no_stage_that_ends_in_an_image_sees_all_services():
    for name in ("control", "step", "gpu", "run", "service", "contracts", "library", "runtime"):
        assert "COPY services" not in stages()[name]


def test_compose_runs_every_service_by_the_image_that_the_dockerfile_builds():
    for service in SERVICES:
        found = COMPOSE["services"][service]
        assert found["build"]["args"]["SERVICES"] == service
        assert found["build"]["target"] in stages()
        assert f"muniflow-{service}:" in found["image"]
        assert found["read_only"] is True
        assert found["deploy"]["resources"]["limits"]["memory"]
    assert {COMPOSE["services"][name]["environment"]["MUNIFLOW_OPERATIONS"] for name in installed_operations()} == set(
        installed_operations()
    )


def test_only_make_opens_the_gateway_without_keys():
    deployed = [ROOT / "Makefile", ROOT / "compose.yaml", ROOT / "Dockerfile", *(ROOT / "deploy").rglob("*.yaml")]
    asked = [path for path in deployed if "GATEWAY_OPEN" in path.read_text()]
    assert asked == [ROOT / "Makefile"]
    recipes = (ROOT / "Makefile").read_text()
    assert "run daemon demo: export MUNIFLOW_GATEWAY_OPEN" in recipes


def test_compose_is_also_a_stack_for_swarm():
    # What `docker stack deploy` refuses or would quietly drop to our harm.
    assert not {"name", "include"} & COMPOSE.keys()
    for name, service in COMPOSE["services"].items():
        assert not {"container_name", "depends_on", "scale", "mem_limit", "cpus"} & service.keys(), name
        assert service["deploy"]["restart_policy"]["condition"] == "any"
        if service["deploy"].get("endpoint_mode") == "dnsrr":
            assert "ports" not in service, f"{name}: Swarm publishes no port without a virtual address"
    assert all(port.startswith("127.0.0.1:") for item in COMPOSE["services"].values() for port in item.get("ports", ()))


def test_prometheus_of_compose_asks_every_service():
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    asked = {
        name for job in config["scrape_configs"] for item in job.get("dns_sd_configs", ()) for name in item["names"]
    }
    assert asked == set(SERVICES)
    assert "broker:15692" in str(config)


def test_skaffold_builds_one_artifact_per_service_and_hands_each_to_the_chart():
    artifacts = {item["image"]: item for item in SKAFFOLD["build"]["artifacts"]}
    assert set(artifacts) == {f"muniflow-{service}" for service in SERVICES}
    (release,) = SKAFFOLD["deploy"]["helm"]["releases"]
    for service in SERVICES:
        docker = artifacts[f"muniflow-{service}"]["docker"]
        assert (docker["buildArgs"], docker["target"] in stages()) == ({"SERVICES": service}, True)
        path = service if service in CONTROL else f"steps.{service}"
        assert release["setValueTemplates"][f"{path}.image.repository"] == f"{{{{.IMAGE_REPO_muniflow_{service}}}}}"
        assert release["setValueTemplates"][f"{path}.image.tag"] == f"{{{{.IMAGE_TAG_muniflow_{service}}}}}"


def test_the_values_that_skaffold_gives_are_values_of_the_chart():
    (release,) = SKAFFOLD["deploy"]["helm"]["releases"]
    settings = [f"{key}=x" for key in release["setValueTemplates"]]
    for profile in SKAFFOLD["profiles"]:
        for patch in profile["patches"]:
            if patch["path"] == "/deploy/helm/releases/0/setValues":
                settings += [f"{key}={value}" for key, value in patch["value"].items()]
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = template("--values", ROOT / release["valuesFiles"][0], *arguments)
    assert done.returncode == 0, done.stderr
    for forward in SKAFFOLD["portForward"]:
        assert f"name: {forward['resourceName']}\n" in done.stdout


def test_skaffold_has_the_shape_of_its_schema():
    assert SKAFFOLD["apiVersion"] == "skaffold/v4beta11"
    assert set(SKAFFOLD) <= {
        "apiVersion",
        "kind",
        "metadata",
        "build",
        "manifests",
        "deploy",
        "portForward",
        "profiles",
    }
    for artifact in SKAFFOLD["build"]["artifacts"]:
        assert set(artifact) == {"image", "docker", "sync"}
        assert set(artifact["docker"]) <= {"dockerfile", "target", "buildArgs"}
        for rule in artifact["sync"]["manual"]:
            assert set(rule) == {"src", "dest", "strip"}
            assert rule["src"].startswith(rule["strip"])
            assert list(ROOT.glob(rule["src"])), rule["src"]
    for profile in SKAFFOLD["profiles"]:
        assert set(profile) <= {"name", "manifests", "deploy", "patches", "build"}
        assert all(patch["op"] in {"add", "remove", "replace"} for patch in profile["patches"])
    gpu = next(profile for profile in SKAFFOLD["profiles"] if profile["name"] == "gpu")
    index = int(gpu["patches"][0]["path"].split("/")[3])
    assert SKAFFOLD["build"]["artifacts"][index]["image"] == "muniflow-blur"


def test_skaffold_syncs_every_file_of_a_service():
    """A file that no rule names costs a build and a new pod."""
    for artifact in SKAFFOLD["build"]["artifacts"]:
        name = artifact["image"].replace("-", "_")
        package = ROOT / "services" / name.removeprefix("muniflow_") / name
        synced = {path for rule in artifact["sync"]["manual"] for path in ROOT.glob(rule["src"])}
        files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}

        assert {path.name for path in files - synced} <= {"py.typed"}


def test_shell_scripts_parse():
    for name in ("bundle-load", "deploy-secrets", "deploy-try-images", "images-load", "release"):
        subprocess.run(["bash", "-n", ROOT / "scripts" / name], check=True)
    compile((ROOT / "tests" / "e2e" / "run").read_text(), "run", "exec")


def test_the_queue_of_an_operation_is_named_alike_in_chart_and_code():
    helper = (CHART / "templates" / "_names.tpl").read_text()
    (pattern,) = re.findall(r'printf "(muniflow\.step\.%s)"', helper)
    assert pattern % "blur" == step_queue("blur")


def test_the_script_for_a_real_cluster_names_what_the_chart_makes():
    script = (ROOT / "tests" / "e2e" / "run").read_text()
    done = template()
    for suffix in re.findall(r'f"\{name\}(-[a-z-]+)"', script):
        assert f"name: muniflow{suffix}\n" in done.stdout, suffix
    for component in ("step-resize", "step-split", "step-blur", "coordinator"):
        assert f'"{component}"' in script
        assert f"app.kubernetes.io/component: {component}\n" in done.stdout
