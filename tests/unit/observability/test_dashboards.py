"""Dashboards: what is committed is what the code says, and it asks only for what there is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deploy.grafana.generator.pages import PAGES

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
    documents = [json.loads(path.read_text()) for path in GRAFANA.glob("*.json")]
    assert len({document["uid"] for document in documents}) == len({document["title"] for document in documents}) == 4
