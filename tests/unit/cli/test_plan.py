"""`muniflow plan`: from a batch to replicas, times and costs; and what is wrong, by its place."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from tests.support.http_server import LocalHandler, LocalServer

from muniflow.forecast.sizes import SAMPLE_IMAGES
from muniflow.images.encode import encode
from muniflow.model.messages import Encoding
from muniflow_cli.commands import exits
from muniflow_cli.main import run
from muniflow_cli.planning import calibration
from muniflow_cli.planning.pictures import photograph

ROUTE = [["resize", "50%"], ["blur", "gaussian"]]
STAGES = [
    {"name": "shrink", "operations": ["resize"], "max": 8, "pool": "spot", "start_s": 0},
    {"name": "blur", "operations": ["blur"], "children": 2, "max": 8, "start_s": 0},
]
FLEET = {
    "stages": [{"name": op, "operations": [op], "max": 20} for op in ("resize", "blur")],
    "running": {"resize": 2, "blur": 5},
}
PRICES = {
    "spot": {"per_node_hour": 0.4, "replicas_per_node": 3, "cool_down_s": 600},
    "default": {"per_replica_hour": 0.1, "cool_down_s": 600},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUNIFLOW_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "in").mkdir()
    for number, side_px in enumerate((64, 96, 128)):
        data = encode(photograph(side_px, side_px, number), Encoding(format="jpg"))
        (tmp_path / f"in/{number}.jpg").write_bytes(data)
    for name, document in {"stages": STAGES, "prices": PRICES}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    return tmp_path


def write_batch(folder, **fields):
    document = {"batch_id": "b", "source": "in/", "operations": ROUTE, **fields}
    (folder / "batch.json").write_text(json.dumps(document))
    return "batch.json"


def planned(capsys, *arguments):
    code = run(["plan", *arguments, "--json"])
    captured = capsys.readouterr()
    assert code == exits.OK, captured.err
    return json.loads(captured.out)


def test_without_a_stack_it_is_planned_for_this_machine(folder, capsys):
    document = planned(capsys, write_batch(folder), "--jobs", "2")

    (stage,) = document["stages"]
    assert (document["images"], document["sampled"], document["unreadable"]) == (3, 3, 0)
    assert (stage["stage"], stage["replicas"], stage["bottleneck"]) == ("local", 2, True)
    assert 0 < document["finish"]["p50_s"] < document["finish"]["p90_s"]
    assert document["cost"] is None
    assert document["feasible"] is None


def test_with_stages_and_prices_it_has_a_cost_and_a_frontier(folder, capsys):
    document = planned(capsys, write_batch(folder), "--stages", "stages.json", "--prices", "prices.json")

    assert [stage["stage"] for stage in document["stages"]] == ["shrink", "blur"]
    assert document["cost"] > 0
    assert all(option["cost"] for option in document["frontier"])


def test_replicas_alone_plan_one_stage_per_operation(folder, capsys):
    document = planned(capsys, write_batch(folder), "--replicas", "resize=4")

    assert {stage["stage"]: stage["replicas"] for stage in document["stages"]} == {"resize": 4, "blur": 1}


@pytest.fixture
def answers(monkeypatch):
    """What a coordinator answers, by path; everything else is 404."""
    found: dict[str, str] = {}

    class Handler(LocalHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            code, text = (200, found[path]) if path in found else (404, '{"error": "not found"}')
            self.answer(code, text.encode())

    with closing(LocalServer(Handler)) as server:
        monkeypatch.setenv("MUNIFLOW_COORDINATOR_URL", server.url)
        yield found


def test_with_a_stack_the_replicas_that_run_and_what_it_learned_count(folder, capsys, answers):
    answers["/v1/fleet"] = json.dumps(FLEET)
    batch = write_batch(folder)

    before = planned(capsys, batch, "--replicas", "resize=2")
    answers["/v1/profile"] = json.dumps({"message_s": 3.0})
    after = planned(capsys, batch, "--replicas", "resize=2")

    assert {stage["stage"]: stage["replicas"] for stage in before["stages"]} == {"resize": 2, "blur": 5}
    assert before["finish"]["p50_s"] < 15  # they run already, so none starts
    assert before["core_s"] < 1 < after["core_s"]


def test_batches_that_run_take_their_turns(folder, capsys, answers):
    load = {"batch": "other", "images": 1_000, "stages": {"resize": [400.0, 0.4, 1, 0.4], "blur": [50.0, 0.05, 1, 0.1]}}
    found = []
    for others in ([], [load], [{**load, "priority": "low"}], [{**load, "priority": "high"}]):
        answers["/v1/fleet"] = json.dumps({**FLEET, "others": others})
        answers["/v1/profile"] = json.dumps({"message_s": 3.0})
        found.append(planned(capsys, write_batch(folder), "--replicas", "resize=2,blur=5")["finish"]["p50_s"])

    alone, equal, before_low, after_high = found
    assert alone < before_low < equal < after_high


def test_a_coordinator_of_an_earlier_build_plans_nothing(folder, capsys, answers):
    assert answers == {}
    assert run(["plan", write_batch(folder)]) == exits.UNAVAILABLE
    assert "earlier build" in capsys.readouterr().err


def test_a_coordinator_that_does_not_answer_is_unavailable(folder, capsys, monkeypatch):
    monkeypatch.setenv("MUNIFLOW_COORDINATOR_URL", "http://127.0.0.1:9")

    assert run(["plan", write_batch(folder)]) == exits.UNAVAILABLE

    assert "the coordinator at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "feasible"), [(3600, True), (0.004, False)])
def test_a_deadline_is_feasible_or_not(folder, capsys, monkeypatch, seconds, feasible):
    now_s = 1_900_000_000.0
    monkeypatch.setattr(time, "time", lambda: now_s)
    deadline = datetime.fromtimestamp(now_s + seconds, UTC).isoformat()

    document = planned(capsys, write_batch(folder), "--stages", "stages.json", "--deadline", deadline)

    assert document["feasible"] is feasible
    assert document["earliest_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--deadline", "2001-01-01T00:00:00Z"], "deadline: is in the past"),
        (["--deadline", "soon"], "deadline: write a time with its offset"),
        (["--deadline", "2100-01-01T00:00:00"], "deadline: write a time with its offset"),
        (["--replicas", "sharpen=2"], "replicas.sharpen: no such stage; there are: resize, blur"),
        (["--replicas", "blur"], "--replicas: write <stage>=<number>, not 'blur'"),
        (["--replicas", "blur=0"], "never ends"),
        (["--budget", "4"], "budget: needs prices"),
        (["--replicas", "blur=1", "--budget", "4"], "--budget: give it or --replicas, not both"),
        (["--jobs", "2", "--stages", "stages.json"], "--stages: give it or --jobs, not both"),
        (["--stages", "stages.json", "--prices", "few.json"], "few.json: prices.spot: no price; stage 'shrink' runs"),
        (["--stages", "stages.json", "--prices", "prices.json", "--budget", "0"], "budget: nothing is so cheap"),
        (["--stages", "few.json"], "few.json: stages: "),
        (["--profile", "few.json"], "few.json: default: unknown field"),
        (["--profile", "nowhere.json"], "nowhere.json: No such file or directory"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(folder, capsys, arguments, problem):
    (folder / "few.json").write_text(json.dumps({"default": PRICES["default"]}))

    assert run(["plan", write_batch(folder), *arguments]) == exits.USAGE

    assert problem in capsys.readouterr().err


def test_a_calibration_that_is_damaged_is_named(folder, capsys):
    (folder / "state").mkdir()
    (folder / "state/profile.json").write_text("{")

    assert run(["plan", write_batch(folder)]) == exits.USAGE

    assert "state/profile.json: not JSON" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_planned(folder, capsys):
    (folder / "in/1.jpg").write_text("not an image")

    assert run(["plan", write_batch(folder)]) == exits.OK

    captured = capsys.readouterr()
    assert "image 1 of in/: in/1.jpg cannot be read as an image" in captured.err
    assert "1 of these unreadable" in captured.out


def test_a_batch_without_an_image_that_can_be_read_is_refused(folder, capsys):
    assert run(["plan", write_batch(folder, images=["a.jpg", "b.jpg"])]) == exits.USAGE

    assert "images[1]: in/b.jpg cannot be read as an image" in capsys.readouterr().err


def test_a_source_that_cannot_be_listed_is_unavailable(folder, capsys):
    assert run(["plan", write_batch(folder), "--source", str(folder / "nowhere")]) == exits.UNAVAILABLE

    assert "the list of images below 'in/' is unavailable" in capsys.readouterr().err


def test_people_see_stages_times_and_the_frontier(folder, capsys):
    deadline = "2100-01-01T00:00:00+01:00"
    options = ["--stages", "stages.json", "--prices", "prices.json", "--deadline", deadline, "--svg", "plan.svg"]

    assert run(["plan", write_batch(folder), *options]) == exits.OK

    out = capsys.readouterr().out
    for text in ("shrink", "◀ waits for this", "nine times in ten", "core-hours", "cost", "█", "documented defaults"):
        assert text in out
    drawn = ET.parse(folder / "plan.svg").getroot()  # noqa: S314 - written by this test
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert "deadline" in "".join(drawn.itertext())


def test_a_manifest_of_a_million_lines_is_planned_in_seconds(folder, capsys):
    lines = ("in/0.jpg\n", "in/1.jpg\n", "in/2.jpg\n", "in/away.jpg\n")
    (folder / "manifest.txt").write_text("".join(lines) * 250_000)
    batch = write_batch(folder, source=None, manifest="manifest.txt")

    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    document = planned(capsys, batch, "--stages", "stages.json")
    took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s

    print(f"1,000,000 lines: {took_s:.1f} s, {cpu_s:.1f} s of CPU")  # noqa: T201 - a figure to read with `pytest -rP`
    assert (document["images"], document["sampled"]) == (1_000_000, SAMPLE_IMAGES)
    assert 0.15 < document["unreadable"] / SAMPLE_IMAGES < 0.35
    assert cpu_s < 10  # under 5 s alone on its core; other tests share it


def takewhile_slow(times_s, limit_s):
    """The times up to the first one within a limit."""
    for time_s in times_s:
        yield time_s
        if time_s <= limit_s:
            return


def test_a_plan_is_near_to_what_the_run_takes(folder, capsys, monkeypatch):
    monkeypatch.setattr(calibration, "SIDES_PX", (128, 512))
    data = encode(photograph(1536, 1024), Encoding(format="jpg"))
    for number in range(40):
        (folder / f"in/{number}.jpg").write_bytes(data)
    batch = write_batch(folder)
    assert run(["calibrate"]) == exits.OK
    capsys.readouterr()
    forecast = planned(capsys, batch, "--jobs", "2")["finish"]

    def took_s(number):
        assert run(["run", batch, "--jobs", "2", "--out", f"out{number}", "--json"]) == exits.OK
        return json.loads(capsys.readouterr().out)["seconds"]

    # Whatever else this machine does meanwhile only makes it slower.
    actual_s = min(takewhile_slow(map(took_s, range(4)), 2.5 * forecast["p50_s"]))
    print(f"40 images: planned {forecast['p50_s']:.2f} s (p90 {forecast['p90_s']:.2f} s), took {actual_s:.2f} s")  # noqa: T201
    assert 1 / 3 < actual_s / forecast["p50_s"] < 3
