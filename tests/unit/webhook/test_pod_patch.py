"""The patch that places a pod adds to what is there, and takes nothing of it away."""

from __future__ import annotations

import msgspec

from spotalis.model.nodes import NodeType, Pin
from spotalis.planner.placement import Placement
from spotalis.webhook.admission_review import PodObject
from spotalis.webhook.pod_patch import pod_patch


def test_a_map_that_is_there_gets_members_and_is_not_exchanged() -> None:
    pod = msgspec.convert(
        {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeSelector": {"disk": "ssd"}}},
        PodObject,
    )
    placement = Placement(
        node_type=NodeType.SPOT, slot=1, rule="share", have_on_demand=1, have_spot=0,
        reserved=0, want_on_demand=1, want_spot=2,
    )  # fmt: skip
    pin = Pin(node_selector=(("a.b/class", "spot"),))
    paths = [
        one["path"] for one in pod_patch(pod, placement, request_uid="r", rule="share", pin=pin)
    ]
    assert "/spec/nodeSelector/a.b~1class" in paths
    assert not {"/spec/nodeSelector", "/metadata/labels"} & set(paths)
