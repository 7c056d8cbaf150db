"""``spotalis status --by node``: the nodes, their capacity types and the replicas on them."""

from __future__ import annotations

import argparse
from collections import Counter

from spotalis.app.inspection import Inspection
from spotalis.cli.cluster_flags import style_of
from spotalis.cli.errors import ExitCode
from spotalis.cli.labels import label_cells, label_headers
from spotalis.cli.output import dump, duration, table
from spotalis.cli.views import NodeView, NodeViewList, age_seconds
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node

HEADERS = ("NODE", "TYPE", "READY", "PODS", "MANAGED", "ZONE", "AGE", "NOTE")
ZONE = "topology.kubernetes.io/zone"


def print_nodes(arguments: argparse.Namespace, inspection: Inspection, clock: Clock) -> int:
    """Print every node, on-demand first."""
    views = node_views(inspection, clock)
    labels = {node.name: node.labels for node in inspection.cluster.nodes.store}
    style = style_of(arguments)
    if arguments.output in ("json", "yaml"):
        notes = [str(right) for right in inspection.missing]
        print(dump(NodeViewList(items=views, notes=notes), arguments.output))
    elif arguments.output == "name":
        print("\n".join(f"node/{view.name}" for view in views))
    else:
        rows = [
            (
                view.name,
                view.type,
                str(view.ready),
                str(view.pods),
                _managed(view, style.bar(*_by_type(view))),
                view.zone or "-",
                "<unknown>" if view.age_seconds is None else duration(view.age_seconds),
                view.note or "-",
                *label_cells(arguments, labels.get(view.name, {})),
            )
            for view in views
        ]
        headers = (*HEADERS, *label_headers(arguments))
        print(table(rows, headers=None if arguments.no_headers else headers))
    return ExitCode.SUCCESS


def node_views(inspection: Inspection, clock: Clock) -> list[NodeView]:
    """The nodes of a cluster, on-demand first, then spot, then unknown."""
    cluster = inspection.cluster
    managed: Counter[str] = Counter()
    for pod in cluster.pods:
        key = cluster.find_key(pod) if pod.node else None
        if key is not None and cluster.find_configuration(key) is not None:
            managed[pod.node] += 1
    order = [NodeType.ON_DEMAND, NodeType.SPOT, NodeType.UNKNOWN]
    views = [
        NodeView(
            name=node.name,
            type=str(cluster.nodes.type_of(node.name) or NodeType.UNKNOWN),
            ready=node.ready,
            pods=cluster.placed.count_on(node.name),
            managed=managed[node.name],
            zone=node.labels.get(ZONE, ""),
            age_seconds=age_seconds(node.created_at, clock.now()),
            note=_note(inspection, node),
        )
        for node in cluster.nodes.store
    ]
    return sorted(views, key=lambda view: (order.index(NodeType(view.type)), view.name))


def _note(inspection: Inspection, node: Node) -> str:
    if inspection.cluster.nodes.is_terminating(node.name):
        return "being-reclaimed"
    if node.deleting_at:
        return "terminating"
    return "cordoned" if node.cordoned else ""


def _by_type(view: NodeView) -> tuple[int, int]:
    return (0, view.managed) if view.type == NodeType.SPOT else (view.managed, 0)


def _managed(view: NodeView, bar: str) -> str:
    return f"{bar} {view.managed}" if view.managed else "-"
