"""What the caches enqueue when the cluster changes."""

from __future__ import annotations

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.reservations import Reservations
from spotalis.kube.store import Event, EventType, StoreChange, StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from tests.support.builders import a_namespace, a_node, annotated, workload_named_api
from tests.support.manual_clock import ManualClock

KEY = WorkloadKey("Deployment", "shop", "api")


def test_nodes_enqueue_no_workload_before_the_first_lists_and_all_of_them_later() -> None:
    """2,000 nodes would enqueue 15,000 workloads each; none can be reconciled before."""
    enqueued: list[WorkloadKey] = []
    clock = ManualClock()
    cluster = Cluster(ControllerConfiguration(), Reservations(clock), enqueued.append, clock)
    writers = {name: StoreWriter(store) for name, store in cluster.stores().items()}
    writers["namespaces"].apply(Event(EventType.ADDED, a_namespace()))
    policy = annotated(enabled="true", spot_percentage="50")
    cluster.on_workload_change(StoreChange(None, workload_named_api(annotations=policy)))
    enqueued.clear()
    cluster.on_node_change(StoreChange(None, a_node("node-1")))
    assert enqueued == []
    for writer in writers.values():
        writer.end_relist()
    cluster.on_node_change(StoreChange(None, a_node("node-2")))
    assert enqueued == [KEY]
