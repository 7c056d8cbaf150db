"""Writes the Grafana dashboards in charts/spotalis/files/dashboards (`make docs`).

One dashboard shows all workloads of a cluster, the other shows one workload. They are built with
Grafana's own SDK, so that their structure follows its schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).parents[1] / "charts" / "spotalis" / "files" / "dashboards"
COLORS = {"on-demand": "#0072B2", "spot": "#E69F00"}
"""As in the command line. Both are distinct for people with colour vision deficiency (Okabe and
Ito, "Color Universal Design", 2008)."""
_DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_OWN = 'job=~"$job"'
_OF_NAMESPACES = f'{_OWN},namespace=~"$namespace"'
_OF_WORKLOAD = f'{_OWN},namespace="$namespace",workload="$workload"'
_MINUTELY = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class _Name:
    uid: str
    title: str


_FLEET = _Name("spotalis-fleet", "Spotalis / Fleet")
_WORKLOAD = _Name("spotalis-workload", "Spotalis / Workload")

Panel: TypeAlias = timeseries.Panel | stat.Panel | table.Panel | statetimeline.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str = ""


def _add(panel: Panel, queries: Sequence[Query], *, instant: bool = False) -> Panel:
    for number, query in enumerate(queries):
        target = Dataquery().expr(query.expr).legend_format(query.legend or "__auto")
        target = target.ref_id(chr(ord("A") + number)).datasource(_DATASOURCE)
        if instant:
            target = target.instant().format(PromQueryFormat.TABLE)
        panel.with_target(target)
    panel.datasource(_DATASOURCE)
    return panel


def _lines(
    title: str, *queries: Query, unit: str = "short", stacked: bool = False, text: str = ""
) -> Panel:
    panel = timeseries.Panel().title(title).description(text).unit(unit).min(0).span(12).height(8)
    panel.legend(VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM))
    if stacked:
        panel.fill_opacity(40).stacking(StackingConfig().mode(common.StackingMode.NORMAL))
    for name, color in COLORS.items():
        value = {"mode": "fixed", "fixedColor": color}
        panel.override_by_regexp(f"^{name}\\b.*", [dashboard.DynamicConfigValue("color", value)])
    return _add(panel, queries)


def _number(title: str, query: str, unit: str = "short", text: str = "") -> Panel:
    panel = stat.Panel().title(title).description(text).unit(unit).span(4).height(4)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return _add(panel, [Query(query)])


def _rows(title: str, query: str, hidden: Sequence[str], text: str) -> Panel:
    panel = table.Panel().title(title).description(text).span(24).height(8).show_header(True)
    excluded = dict.fromkeys(("Time", "Value", *hidden), True)
    options = {"excludeByName": excluded, "indexByName": {}, "renameByName": {}}
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=options))
    return _add(panel, [Query(query)], instant=True)


def _reasons(title: str, query: str) -> Panel:
    panel = statetimeline.Panel().title(title).span(24).height(6)
    panel.show_value(common.VisibilityMode.AUTO)
    return _add(panel, [Query(query, "{{reason}}")])


def _variable(name: str, label: str, query: str, *, all_values: bool) -> dashboards.QueryVariable:
    variable = dashboards.QueryVariable(name).label(label).datasource(_DATASOURCE)
    variable.query({"query": query, "refId": name}).refresh(
        dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED
    )
    variable.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".*") if all_values else variable


def _dashboard(name: _Name, text: str, other: _Name) -> dashboards.Dashboard:
    built = dashboards.Dashboard(name.title).uid(name.uid).description(text).tags(["spotalis"])
    built.readonly()
    built.time("now-6h", "now").refresh("1m").timezone("browser")
    built.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    built.with_variable(
        dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus")
    )
    jobs = "label_values(spotalis_build_info, job)"
    built.with_variable(_variable("job", "Job", jobs, all_values=True))
    link = dashboards.DashboardLink(other.title).type(dashboard.DashboardLinkType.LINK)
    return built.link(link.url(f"/d/{other.uid}").keep_time(True))


def _numbered(built: dashboards.Dashboard) -> dashboard.Dashboard:
    """The dashboard with an id for each panel: Grafana would else choose them at each start."""
    finished = built.build()
    for number, panel in enumerate(finished.panels or [], start=1):
        panel.id_val = number
    return finished


def fleet() -> dashboard.Dashboard:
    """The dashboard of all workloads and of the operator itself."""
    status = f"spotalis_workload_status{{{_OF_NAMESPACES}"
    replicas = f"spotalis_workload_replicas{{{_OF_NAMESPACES}"
    ready = f'{replicas},state="ready"'
    built = _dashboard(_FLEET, "All workloads of Spotalis, and the operator.", _WORKLOAD)
    namespaces = f"label_values(spotalis_managed_workloads{{{_OWN}}}, namespace)"
    built.with_variable(_variable("namespace", "Namespace", namespaces, all_values=True))
    built.with_row(dashboards.Row("Workloads"))
    for panel in (
        _number("Managed workloads", f"sum(spotalis_managed_workloads{{{_OF_NAMESPACES}}})"),
        _number(
            "Balanced",
            f'(sum({status},reason="Balanced"}}) or vector(0)) / sum({status}}})',
            "percentunit",
            "Share of the managed workloads whose split is as their policy asks for.",
        ),
        _number(
            "Ready replicas on spot",
            f'sum({ready},capacity_type="spot"}}) / sum({ready}}})',
            "percentunit",
        ),
        _number(
            "Replicas fallen back",
            f"sum(spotalis_fallback_replicas{{{_OWN}}})",
            text="Replicas of spot slots on on-demand nodes, because spot is exhausted.",
        ),
        _number(
            "Evictions in 24 h",
            f'sum(increase(spotalis_evictions_total{{{_OF_NAMESPACES},outcome="evicted"}}[24h]))'
            " or vector(0)",
        ),
        _number(
            "Instances",
            f"count(spotalis_build_info{{{_OWN}}})",
        ),
        _lines(
            "Replicas by capacity type",
            Query(f"sum by (capacity_type) ({ready}}})", "{{capacity_type}}"),
            stacked=True,
        ),
        _lines(
            "Workloads by reason",
            Query(f"sum by (reason) ({status}}})", "{{reason}}"),
            stacked=True,
        ),
        _lines(
            "Evictions per minute",
            Query(
                f"sum by (target, outcome) (rate(spotalis_evictions_total{{{_OF_NAMESPACES}}}"
                f"{_MINUTELY})) * 60",
                "to {{target}}: {{outcome}}",
            ),
        ),
        _lines(
            "Replicas fallen back, and moves suspended by a spot storm",
            Query(f"sum(spotalis_fallback_replicas{{{_OWN}}})", "fallen back"),
            Query(f"max(spotalis_storm_active{{{_OWN}}})", "storm"),
        ),
        _rows(
            "Workloads that are not balanced",
            f'{status},reason!="Balanced"}} == 1',
            ("__name__", "instance", "job", "pod", "container", "endpoint", "service"),
            "`kubectl spotalis explain TYPE/NAME` shows what a workload waits for.",
        ),
    ):
        built.with_panel(panel)
    built.with_row(dashboards.Row("Operator"))
    for panel in _operator_panels():
        built.with_panel(panel)
    return _numbered(built)


def _operator_panels() -> Sequence[Panel]:
    requests = f"spotalis_webhook_request_duration_seconds_bucket{{{_OWN}}}{_MINUTELY}"
    return (
        _lines(
            "Admission requests per second",
            Query(
                f"sum by (result) (rate(spotalis_webhook_requests_total{{{_OWN}}}{_MINUTELY}))",
                "{{result}}",
            ),
            unit="reqps",
        ),
        _lines(
            "Duration of admission requests",
            Query(f"histogram_quantile(0.5, sum by (le) (rate({requests})))", "median"),
            Query(f"histogram_quantile(0.99, sum by (le) (rate({requests})))", "99th percentile"),
            unit="s",
        ),
        _lines(
            "Admission decisions per second",
            Query(
                f"sum by (mutation_type) (rate(spotalis_webhook_mutations_total{{{_OWN}}}"
                f"{_MINUTELY}))",
                "{{mutation_type}}",
            ),
            unit="reqps",
        ),
        _lines(
            "Requests to the API server per second",
            Query(
                f"sum by (verb, code) (rate(spotalis_api_requests_total{{{_OWN}}}{_MINUTELY}))",
                "{{verb}} {{code}}",
            ),
            unit="reqps",
        ),
        _lines(
            "CPU",
            Query(
                f"sum by (instance) (rate(process_cpu_seconds_total{{{_OWN}}}{_MINUTELY})"
                f" and on (instance) spotalis_build_info{{{_OWN}}})",
                "{{instance}}",
            ),
        ),
        _lines(
            "Memory",
            Query(
                f"process_resident_memory_bytes{{{_OWN}}}"
                f" and on (instance) spotalis_build_info{{{_OWN}}}",
                "{{instance}}",
            ),
            unit="bytes",
        ),
        _lines(
            "Age of the caches",
            Query(
                f"max by (resource) (spotalis_cache_age_seconds{{{_OWN}}})",
                "{{resource}}",
            ),
            unit="s",
            text="Time since the last response of each watch. Moves stop above 70 seconds.",
        ),
        _lines(
            "Delay of the event loop",
            Query(f"max by (instance) (spotalis_event_loop_lag_seconds{{{_OWN}}})", "{{instance}}"),
            unit="s",
        ),
        _number(
            "Leaders",
            f"sum(spotalis_leader_election_status{{{_OWN}}})",
        ),
        _number(
            "Certificate expires in",
            f"min(spotalis_webhook_certificate_expiry_timestamp_seconds{{{_OWN}}}) - time()",
            "s",
        ),
    )


def workload() -> dashboard.Dashboard:
    """The dashboard of one workload."""
    replicas = f"spotalis_workload_replicas{{{_OF_WORKLOAD}"
    built = _dashboard(_WORKLOAD, "One workload of Spotalis.", _FLEET)
    namespaces = f"label_values(spotalis_managed_workloads{{{_OWN}}}, namespace)"
    names = f'label_values(spotalis_workload_status{{{_OWN},namespace="$namespace"}}, workload)'
    built.with_variable(_variable("namespace", "Namespace", namespaces, all_values=False))
    built.with_variable(_variable("workload", "Workload", names, all_values=False))
    for panel in (
        _lines(
            "Ready replicas",
            Query(f'sum by (capacity_type) ({replicas},state="ready"}})', "{{capacity_type}}"),
            stacked=True,
        ),
        _lines(
            "Replicas that the policy asks for",
            Query(f'sum by (capacity_type) ({replicas},state="desired"}})', "{{capacity_type}}"),
            stacked=True,
        ),
        _lines(
            "Replicas that are not ready",
            Query(f'sum by (capacity_type) ({replicas},state="pending"}})', "{{capacity_type}}"),
        ),
        _lines(
            "Evictions per minute in the namespace",
            Query(
                f"sum by (target, outcome) (rate(spotalis_evictions_total{{{_OWN},"
                f'namespace="$namespace"}}{_MINUTELY})) * 60',
                "to {{target}}: {{outcome}}",
            ),
        ),
        _reasons("Reason", f"spotalis_workload_status{{{_OF_WORKLOAD}}} == 1"),
    ):
        built.with_panel(panel)
    return _numbered(built)


def render(built: dashboard.Dashboard) -> str:
    """The dashboard as JSON."""
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


PAGES = {"fleet.json": fleet, "workload.json": workload}


def main() -> None:
    """Write the dashboards."""
    FOLDER.mkdir(exist_ok=True)
    for name, build in PAGES.items():
        (FOLDER / name).write_text(render(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
