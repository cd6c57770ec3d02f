"""Dashboards: what is committed is what the code says, and it asks only for what there is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deploy.grafana.generator.pages import PAGES
from deploy.grafana.generator.picture import Drawn, Series, svg

import muniflow.worker.metrics
import muniflow_coordinator.metrics
import muniflow_gateway.metrics
from muniflow.runtime.metrics import metrics_of

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "deploy" / "grafana" / "dashboards"
QUERIES = [
    pytest.param(query.expr, id=f"{page.name}-{panel.title}-{query.legend}")
    for page in PAGES
    for panel in page.panels
    for query in panel.queries
]


def test_the_committed_dashboards_are_what_the_code_writes():
    command = [sys.executable, str(ROOT / "tools" / "dashboards"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def known() -> set[str]:
    modules = (muniflow.worker.metrics, muniflow_coordinator.metrics, muniflow_gateway.metrics)
    entries = [entry for module in modules for entry in metrics_of(module)]
    names = {f"{entry.name}{end}" for entry in entries for end in ("", "_total", "_sum", "_count", "_bucket")}
    for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            names |= {rule["record"] for rule in group["rules"] if "record" in rule}
    return names


@pytest.mark.parametrize("expr", QUERIES)
def test_a_query_asks_for_what_there_is_in_the_chosen_namespace(expr):
    assert set(re.findall(r"\bmuniflow[:_][\w:]+", expr)) <= known()
    selectors = re.findall(r"\{([^}]*)\}", expr)
    assert selectors
    assert all('namespace=~"$namespace"' in selector for selector in selectors)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_whole(page):
    document = json.loads((GRAFANA / f"{page.name}.json").read_text())
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in page.panels]
    assert all(
        panel["description"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels
    )
    places = [panel["gridPos"] for panel in document["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    names = {variable["name"] for variable in document["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", json.dumps([panel["targets"] for panel in panels])))
    assert {name for name in used if not name.startswith("__")} <= names


def test_a_stage_has_a_row_of_its_own_that_repeats():
    document = json.loads((GRAFANA / "pipeline.json").read_text())
    assert [row["title"] for row in document["panels"] if row.get("repeat") == "step"] == ["$step"]


def test_dashboards_have_names_of_their_own():
    titles = {document["title"] for document in documents().values()}
    assert len({document["uid"] for document in documents().values()}) == len(titles) == len(PAGES)


def test_the_backlog_of_each_stage_in_the_order_of_the_flow_is_the_first_thing_to_see():
    first = next(panel for panel in documents()["pipeline"]["panels"] if panel["type"] != "row")
    assert (first["type"], first["gridPos"]["w"], first["gridPos"]["x"]) == ("bargauge", 24, 0)
    assert first["gridPos"]["y"] == min(
        p["gridPos"]["y"] for p in documents()["pipeline"]["panels"] if p["type"] != "row"
    )
    places = [re.findall(r'place="(\d)"', target["expr"]) for target in first["targets"]]
    assert places == [[str(place)] for place in range(1, 9)] + [[]], "then those of which no batch runs"
    assert all(target["instant"] for target in first["targets"])


def documents():
    return {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("*.json")}


def test_a_click_leads_from_a_stage_to_its_failures_and_workers_and_from_batches_to_their_stages():
    found: dict[str, set[str]] = {}
    for name, document in documents().items():
        for panel in document["panels"]:
            for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links") or ():
                path, _, query = link["url"].partition("?")
                target = documents()[path.removeprefix("/d/muniflow-")]
                assert "${namespace:queryparam}&${__url_time_range}" in query, "the same time and place"
                variables = {variable["name"] for variable in target["templating"]["list"]}
                chosen = set(re.findall(r"(?:var-|\$\{)(\w+)[=:]", query)) - {"__field"}
                assert chosen <= variables, f"{link['url']}: not chosen there"
                found.setdefault(f"{name}: {panel['title']}", set()).add(target["uid"])
    both = {"muniflow-failures", "muniflow-workers"}
    assert found["pipeline: Backlog of each stage, in the order of the flow"] == both
    assert found["pipeline: Time to drain"] == both
    assert found["batches: Images to do"] == {"muniflow-pipeline"}
    assert found["failures: To be replayed, by reason"] == {"muniflow-workers"}
    assert found["workers: Tasks"] == {"muniflow-failures"}


@pytest.mark.parametrize("page", ["pipeline", "batches"])
def test_a_municipality_can_be_chosen(page):
    [owner] = [each for each in documents()[page]["templating"]["list"] if each["name"] == "owner"]
    assert (owner["label"], owner["multi"], owner["includeAll"]) == ("Municipality", True, True)
    asked = [target["expr"] for panel in documents()[page]["panels"] for target in panel.get("targets") or ()]
    assert any('owner=~"$owner"' in expr for expr in asked)


def test_bars_are_drawn_for_those_who_have_no_grafana():
    panel = next(PAGES[0].panels)
    series = [
        Series("resize", [(1.0, 40.0)]),
        Series("split", []),
        Series("blur", [(0.0, 10.0), (1.0, 20.0)]),
        Series("gone", [(0.0, 70.0)]),
    ]
    picture = svg("a test", [("Backlog", [Drawn(panel, series)])], (0.0, 60.0))
    assert re.findall(r'class="title"[^>]*>([^<]+)<', picture)[1:] == ["40", "20"]
    assert picture.index(">resize<") < picture.index(">blur<")
    assert ">split<" not in picture
    assert ">gone<" not in picture
