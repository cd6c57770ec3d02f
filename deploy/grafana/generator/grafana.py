"""From a page to Grafana's JSON, with Grafana's foundation SDK."""

from deploy.grafana.generator.panels import Link, Page, Panel, Row
from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as dashboards

SOURCE = dashboards.DataSourceRef(type_val="prometheus", uid="${datasource}")
STAT_HEIGHT, PANEL_HEIGHT = 4, 8
PRICE = "0.04"


def document(page: Page) -> str:
    """The page as Grafana imports it; the same text for the same page."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard(page).build()) + "\n"


def _dashboard(page: Page) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(page.title)
        .uid(f"muniflow-{page.name}")
        .description(page.text)
        .tags(["muniflow"])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("15s")
        .link(dashboard.DashboardLink("muniflow").type(dashboards.DashboardLinkType.DASHBOARDS).tags(["muniflow"]))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_labels("namespace", "Namespace").include_all(include_all=True).all_value(".*").current(_all()))
    )
    if page.steps:
        made = made.with_variable(_several("step", "Stage", "muniflow_prefetch"))
    if page.owners:
        made = made.with_variable(_several("owner", "Municipality", "muniflow_owner_images_settled_total"))
    if page.prices:
        made = made.with_variable(
            dashboard.TextBoxVariable("price").label("Price of a core and hour").default_value(PRICE)
        )
    for row in page.rows:
        made = made.with_row(_row(row))
        for panel in row.panels:
            made = made.with_panel(_panel(panel))
    return made


def _several(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    return _labels(name, label, metric).include_all(include_all=True).multi(multi=True).current(_all())


def _labels(name: str, label: str, metric: str = "muniflow_prefetch") -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(dashboards.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboards.VariableSort.ALPHABETICAL_ASC)
    )


def _all() -> dashboards.VariableOption:
    return dashboards.VariableOption(selected=True, text="All", value="$__all")


def _row(row: Row) -> dashboard.Row:
    made = dashboard.Row(row.title)
    return made.repeat(row.repeat) if row.repeat else made


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel | bargauge.Panel:
    make = {"stat": _stat, "bars": _bars}.get(panel.kind, _lines)
    made: stat.Panel | timeseries.Panel | bargauge.Panel = make(panel)
    for index, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + index))
        if panel.kind == "bars":
            target = target.instant()
        made = made.with_target(target.legend_format(query.legend) if query.legend else target)
    if panel.links:
        made = made.data_links([_link(link) for link in panel.links])
    return made.title(panel.title).description(panel.text).datasource(SOURCE).unit(panel.unit).span(panel.width)


def _link(link: Link) -> dashboard.DashboardLink:
    kept = ("${datasource:queryparam}", "${namespace:queryparam}", "${__url_time_range}")
    chosen = [value if value.startswith("${") and not name else f"var-{name}={value}" for name, value in link.variables]
    return dashboard.DashboardLink(link.title).url(f"/d/muniflow-{link.page}?{'&'.join((*kept, *chosen))}")


def _bars(panel: Panel) -> bargauge.Panel:
    made = bargauge.Panel().height(PANEL_HEIGHT).orientation(models.VizOrientation.HORIZONTAL).min(0)
    made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    return made.display_mode(models.BarGaugeDisplayMode.BASIC).no_value("-").thresholds(_thresholds(panel.good_below))


def _stat(panel: Panel) -> stat.Panel:
    made = stat.Panel().height(STAT_HEIGHT).graph_mode(models.BigValueGraphMode.AREA)
    made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)).no_value("-")
    if panel.names:
        made = made.text_mode(models.BigValueTextMode.NAME).graph_mode(models.BigValueGraphMode.NONE)
    return made.thresholds(_thresholds(panel.good_below)).color_mode(models.BigValueColorMode.VALUE)


def _thresholds(good_below: float | None) -> dashboard.ThresholdsConfig:
    steps = [dashboards.Threshold(value=None, color="green" if good_below is not None else "text")]
    if good_below is not None:
        steps.append(dashboards.Threshold(value=good_below, color="red"))
    return dashboard.ThresholdsConfig().mode(dashboards.ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().height(PANEL_HEIGHT).line_width(2).fill_opacity(10).min(0)
    made = made.show_points(models.VisibilityMode.NEVER)
    made = made.tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI))
    made = made.legend(
        common.VizLegendOptions()
        .display_mode(models.LegendDisplayMode.LIST)
        .placement(models.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs([])
    )
    if panel.kind == "stack":
        made = made.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL).group("A")).fill_opacity(50)
    return made
