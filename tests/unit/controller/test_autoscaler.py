"""What autoscalers say about Pending pods."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spotalis.controller.autoscaler import (
    CLUSTER_AUTOSCALER,
    KARPENTER,
    autoscaler_of,
    latest_news,
)
from spotalis.model.classification import Pin
from spotalis.model.objects import Requirement
from spotalis.model.single_objects import Event
from tests.support.builders import NOW

NO_POOL = (
    "Failed to schedule pod, incompatible requirements, key karpenter.sh/capacity-type, "
    "karpenter.sh/capacity-type In [spot] not in karpenter.sh/capacity-type In [on-demand]"
)
LIMIT = "Failed to schedule pod, all available instance types exceed limits for nodepool"


def event(component: str, message: str = NO_POOL, seconds_ago: float = 10) -> Event:
    return Event(
        namespace="shop",
        name="api-0.1",
        involved_uid="api-0-uid",
        at=NOW - timedelta(seconds=seconds_ago),
        component=component,
        message=message,
    )


@pytest.mark.parametrize(
    ("reason", "found", "refused"),
    [
        pytest.param("FailedScheduling", event(KARPENTER), [KARPENTER], id="Karpenter"),
        pytest.param("FailedScheduling", event(KARPENTER, LIMIT), [KARPENTER], id="limit"),
        pytest.param("FailedScheduling", event("default-scheduler"), [], id="scheduler"),
        pytest.param(
            "FailedScheduling",
            event(KARPENTER, 'Failed to schedule pod, getting claim "data", not found'),
            [],
            id="Karpenter, about something else",
        ),
        pytest.param(
            "NotTriggerScaleUp",
            event(CLUSTER_AUTOSCALER, "pod didn't trigger scale-up: 1 max node group size reached"),
            [CLUSTER_AUTOSCALER],
            id="cluster autoscaler",
        ),
        pytest.param("FailedScheduling", event(KARPENTER, seconds_ago=300), [], id="long ago"),
    ],
)
def test_a_pod_is_refused_if_its_autoscaler_says_so(
    reason: str, found: Event, refused: list[str]
) -> None:
    news = latest_news([(reason, found)], NOW)
    assert [by for by, _ in news.refused] == refused


@pytest.mark.parametrize(
    ("announced_ago", "announced"),
    [pytest.param(9, {"api-0-uid"}, id="after"), pytest.param(11, set(), id="before")],
)
def test_the_later_of_announcement_and_refusal_counts(
    announced_ago: float, announced: set[str]
) -> None:
    events = [
        ("FailedScheduling", event(KARPENTER)),
        ("Nominated", event(KARPENTER, "Pod should schedule on: node/a", announced_ago)),
    ]
    assert latest_news(events, NOW).announced == announced


def test_a_refusal_is_quoted() -> None:
    news = latest_news([("FailedScheduling", event(KARPENTER, "no instance type"))], NOW)
    assert news.refused_by(KARPENTER) == {"api-0-uid": "karpenter says: no instance type"}
    assert news.refused_by(CLUSTER_AUTOSCALER) == {}


@pytest.mark.parametrize(
    ("pin", "autoscaler"),
    [
        (None, CLUSTER_AUTOSCALER),
        (Pin(node_selector=(("karpenter.sh/capacity-type", "spot"),)), KARPENTER),
        (Pin(node_selector=(("eks.amazonaws.com/capacityType", "SPOT"),)), CLUSTER_AUTOSCALER),
        (
            Pin(
                terms=(
                    (Requirement("karpenter.sh/capacity-type", "In", ("spot",)),),
                    (Requirement("eks.amazonaws.com/capacityType", "In", ("SPOT",)),),
                )
            ),
            KARPENTER,
        ),
    ],
)
def test_karpenter_is_asked_if_its_label_is_pinned(pin: Pin | None, autoscaler: str) -> None:
    assert autoscaler_of(pin) == autoscaler
