"""A profile of service times is a file of the coordinator; another one starts it anew."""

from pathlib import Path

from tests.deploy.chart import environment, load, of_kind, pods, rendered, template

from muniflow.forecast.defaults import Costs
from muniflow.forecast.profile import Profile, read_profile


def _with_profile(folder: Path, message_s: float) -> tuple[Profile, str]:
    """What the coordinator finds in its file, and the name of the ConfigMap."""
    (folder / "profile.json").write_text(Profile(Costs(message_s=message_s)).to_json() + "\n")
    done = template("--set-file", f"coordinator.profile={folder / 'profile.json'}")
    assert done.returncode == 0, done.stderr
    documents = load(done.stdout)
    pod = pods(documents)["StatefulSet/muniflow-coordinator"]
    path = Path(environment(pod)["MUNIFLOW_PROFILE_FILE"])
    mounts = {each["mountPath"]: each["name"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    name = volumes[mounts[str(path.parent)]]["configMap"]["name"]
    (config,) = (one for one in of_kind(documents, "ConfigMap") if one["metadata"]["name"] == name)
    return read_profile(config["data"][path.name]), name


def test_the_coordinator_gets_its_profile(tmp_path: Path) -> None:
    first, its_name = _with_profile(tmp_path, 0.5)
    second, other_name = _with_profile(tmp_path, 0.25)
    assert (first.costs.message_s, second.costs.message_s) == (0.5, 0.25)
    assert its_name != other_name


def test_without_one_there_is_no_file() -> None:
    pod = pods(rendered("default"))["StatefulSet/muniflow-coordinator"]
    assert "MUNIFLOW_PROFILE_FILE" not in environment(pod)
