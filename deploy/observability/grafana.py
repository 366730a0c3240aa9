"""Makes the files of the dashboards, with Grafana's own library for it (requirements/observability.txt)."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as queries

from deploy.observability.alerts import RUNBOOKS
from deploy.observability.board import Board, Panel, Query, Unit
from deploy.observability.scope import scoped

TAG = "streamgauge"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_ALL = ".*"
_COLOURS = ("green", "yellow", "red")


def dashboard_json(board: Board) -> str:
    """Return a dashboard's file."""
    builder = (
        build.Dashboard(board.title)
        .uid(f"streamgauge-{board.name}")
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .variables(_variables())
        .link(_link_to_the_others())
    )
    for row in board.rows:
        builder = builder.with_row(build.Row(row.title))
        for panel in row.panels:
            builder = builder.with_panel(_panel(panel))
    made = builder.build()
    for number, placed in enumerate(made.panels or [], 1):
        placed.id_val = number
    return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _variables() -> list[Any]:
    return [
        build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _of_labels("namespace", "Namespace", scoped("streamgauge_build_info", {})),
        _of_labels("job", "Job", scoped("streamgauge_build_info", {"namespace": '=~"$namespace"'})),
        _of_labels(
            "stream",
            "Stream",
            scoped("streamgauge_pipeline_info", {"namespace": '=~"$namespace"', "job": '=~"$job"'}),
        ),
        build.ConstantVariable("runbooks").label("Where the runbooks are").value(RUNBOOKS),
    ]


def _of_labels(name: str, label: str, series: str) -> Any:
    """Return a variable with the values that a label has; all of them also match series without the label."""
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(_ALL)
        .current(model.VariableOption(text="All", value="$__all", selected=True))
    )


def _link_to_the_others() -> Any:
    return (
        build.DashboardLink("Streamgauge")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=True)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _panel(panel: Panel) -> Any:
    kinds = {"lines": _lines, "stat": _stat, "heat": _heat}
    built = (
        kinds[panel.kind](panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(5 if panel.kind == "stat" else 8)
        .links([_runbook(alert) for alert in panel.alerts])
    )
    if panel.empty:
        built = built.no_value(panel.empty)
    for number, query in enumerate(panel.queries):
        built = built.with_target(_target(query, chr(ord("A") + number), panel))
    return built


def _runbook(alert: str) -> Any:
    return (
        build.DashboardLink(f"What to do: {alert}")
        .type(model.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{alert}.md")
        .target_blank(target_blank=True)
    )


def _target(query: Query, name: str, panel: Panel) -> Any:
    target = prometheus.Dataquery().datasource(SOURCE).expr(query.scoped).ref_id(name)
    target = target.legend_format(query.legend or "value")
    if panel.kind == "heat":
        target = target.format(queries.PromQueryFormat.HEATMAP)
    return target.instant() if panel.kind == "stat" else target.range()


def _limits(panel: Panel) -> Any:
    values = (None, *(panel.limits or ()))
    steps = [model.Threshold(value=value, color=colour) for value, colour in zip(values, _COLOURS, strict=False)]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Panel) -> Any:
    built = (
        timeseries.Panel()
        .thresholds(_limits(panel))
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 5)
        .show_points(shapes.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().show_legend(show_legend=True).placement(shapes.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    )
    if panel.unit is not Unit.DATE:
        built = built.min(0)
    if panel.limits:
        built = built.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    if panel.stacked:
        built = built.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    return built


def _stat(panel: Panel) -> Any:
    return (
        stat.Panel()
        .thresholds(_limits(panel))
        .color_mode(shapes.BigValueColorMode.VALUE if panel.limits else shapes.BigValueColorMode.NONE)
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .text_mode(shapes.BigValueTextMode.VALUE_AND_NAME if panel.queries[0].legend else shapes.BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    )


def _heat(panel: Panel) -> Any:
    del panel  # its queries say all
    return heatmap.Panel().calculate(calculate=False)
