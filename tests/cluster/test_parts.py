"""The bench's own parts, without a control plane: what stands in for something answers as that would."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from tests.cluster.bench import STAGES
from tests.cluster.metrics_api import GROUP, answer, expression
from tests.cluster.pod_process import Container, Mount, expanded
from tests.cluster.recording import Recording, Sample, picture
from tests.cluster.scaled import bounds
from tests.deploy.chart import of_kind, rendered
from tests.support.waiting import eventually

ADDRESS = "127.77.0.9"
MAX_PODS = 6
DOWN_S = 75.0
"""From the end to the fewest: a window of 60 s, and a look of the HPA."""
SECURITY = {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
TELL = """
import os, socket
from muniflow.model.operation import installed_operations
os.stat('/var/run/secrets/data/told-before')
open('/data/told', 'w').write(f"{os.getuid()} {socket.gethostbyname('store.imagery.svc')} {*installed_operations(),}")
try:
    open('/usr/new', 'w')
except OSError as error:
    print(error.strerror)
"""


def test_variables_refer_to_those_before_them_and_listen_at_the_address_of_the_pod():
    entries = [("USER", "u"), ("URL", "amqp://$(USER):$(LATER)@broker"), ("LATER", "x"), ("BIND", "0.0.0.0:9100")]
    found = expanded(entries, ADDRESS)
    assert (found["URL"], found["BIND"]) == ("amqp://u:$(LATER)@broker", f"{ADDRESS}:9100")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("hpa-forecast", 'max(muniflow_stage_wanted_replicas{namespace="imagery",stage="blur"}) by (stage)'),
        ("hpa-messages", 'sum(muniflow:stage_backlog_messages{namespace="imagery",step=~"blur"}) by (step)'),
    ],
)
def test_the_metrics_api_asks_prometheus_what_the_chart_asks_it(case, expected):
    scaler = next(
        item for item in of_kind(rendered(case), "HorizontalPodAutoscaler") if "blur" in item["metadata"]["name"]
    )
    (metric,) = scaler["spec"]["metrics"]
    selector = metric["external"]["metric"]["selector"]
    text = ",".join(f"{key}={value}" for key, value in selector.get("matchLabels", {}).items())
    text += "".join(f"{rule['key']} in ({','.join(rule['values'])})" for rule in selector.get("matchExpressions", ()))
    assert expression(metric["external"]["metric"]["name"], "imagery", text) == expected


def test_the_metrics_api_gives_no_zero_for_what_is_not_there():
    path = f"/apis/{GROUP}/v1beta1/namespaces/imagery/muniflow_stage_wanted_replicas?labelSelector=stage%3Dblur"
    found = answer(path, lambda _: [{"metric": {"stage": "blur"}, "value": [0, "3.5"]}])
    assert found is not None
    assert [item["value"] for item in found["items"]] == ["3500m"]
    nothing = answer(path, lambda _: [])
    assert nothing is not None
    assert nothing["items"] == []
    assert answer(path.replace("wanted", "unknown"), lambda _: []) is None


def test_a_recording_sums_and_counts_turns():
    asked = [1, 1, 4, 8, 8, 4, 1]
    samples: list[Sample] = [(float(at), {"blur": (count, count - 1)}, {"blur": 1.0}) for at, count in enumerate(asked)]
    recording = Recording(dict, dict, samples)
    assert recording.replica_seconds("blur") == sum(asked[:-1])
    assert (recording.turns("blur"), recording.most("blur"), recording.first("blur", ready=7)) == (1, 8, 3.0)
    assert picture("p", {"run": recording}, ["blur"]).count("polyline") == 3


@pytest.mark.parametrize(
    ("held", "took_s", "broken"),
    [(1, 890.0, ["end_s"]), (MAX_PODS, 170.0, ["cost"]), (2 * MAX_PODS, 90.0, ["most", "cost"])],
)
def test_a_signal_that_is_held_breaks_the_bounds(held, took_s, broken):
    """500 images: 800 s of naps for the stage with most work, 1,600 s for all."""
    fewest_s = took_s + DOWN_S
    samples: list[Sample] = [
        (0.0, dict.fromkeys(STAGES, (1, 1)), {}),
        (10.0, dict.fromkeys(STAGES, (held, held)), {}),
        (fewest_s, dict.fromkeys(STAGES, (1, 1)), {}),
    ]
    recording = Recording(dict, dict, samples, marks={"sent": 0.0, "ended": took_s})
    assert bounds("forecast", 500, MAX_PODS).broken(recording, 1600.0) == broken


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts and changes users: needs root")
def test_a_container_has_its_own_user_names_and_a_root_that_cannot_be_written():
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm") as folder:
        base = Path(folder)
        base.chmod(0o755)
        data, hosts, log = base / "data", base / "hosts", base / "log"
        data.mkdir()
        data.chmod(0o777)
        (data / "told-before").touch()
        hosts.write_text("127.77.0.1 store.imagery.svc\n")
        container = Container(base / "pod", log)
        spec = {"image": "muniflow-nap:1", "securityContext": {"readOnlyRootFilesystem": True}}
        spec["command"] = [sys.executable, "-c", TELL]
        pod = {"spec": {"securityContext": SECURITY}}
        mounts = [
            Mount(data, "/data"),
            Mount(hosts, "/etc/hosts"),
            Mount(data, "/var/run/secrets/data", read_only=True),
        ]
        container.start(pod, spec, [], mounts, ADDRESS)
        eventually(lambda: container.exit_code is not None, 30, log.read_text)
        assert container.exit_code == 0, log.read_text()
        told = (data / "told").read_text()
        assert told.startswith("10001 127.77.0.1 ")
        assert not Path("/run/secrets/data").exists(), "what is mounted is inside of the container's root"
        assert all(name in told for name in ("shrink", "cut", "soften"))
        assert log.read_text() == "Read-only file system\n"
