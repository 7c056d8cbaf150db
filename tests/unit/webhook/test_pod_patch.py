"""The patch of a pod preserves what the pod has."""

from __future__ import annotations

import msgspec

from spotalis.model.classification import Pin
from spotalis.model.nodes import NodeType
from spotalis.planner.placement import Placement
from spotalis.webhook.admission_review import AdmissionPod
from spotalis.webhook.pod_patch import pod_patch


def test_an_existing_map_gets_new_members_and_is_not_replaced() -> None:
    pod = msgspec.convert(
        {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeSelector": {"disk": "ssd"}}},
        AdmissionPod,
    )
    placement = Placement(
        node_type=NodeType.SPOT, slot=1, rule="share", have_on_demand=1, have_spot=0,
        reserved=0, want_on_demand=1, want_spot=2,
    )  # fmt: skip
    pin = Pin(node_selector=(("a.b/class", "spot"),))
    patch = pod_patch(pod, placement, request_uid="uid", rule="share", pin=pin)
    paths = [operation["path"] for operation in patch]
    assert "/spec/nodeSelector/a.b~1class" in paths
    assert not {"/spec/nodeSelector", "/metadata/labels"} & set(paths)
