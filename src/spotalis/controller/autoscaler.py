"""What autoscalers say about Pending pods, in Events on the pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from spotalis.kube.client import Client
from spotalis.kube.resources import CORE_EVENTS
from spotalis.model.classification import Pin
from spotalis.model.single_objects import Event

KARPENTER, CLUSTER_AUTOSCALER = "karpenter", "cluster-autoscaler"
"""The components that report these Events."""
ANNOUNCED = ("TriggeredScaleUp", "Nominated")
"""Reasons of Events that announce a node: of cluster autoscaler (FAQ.md, "What events are emitted
by CA?") and of Karpenter (pkg/controllers/provisioning/scheduling/events.go, NominatePodEvent)."""
REFUSED = {KARPENTER: "FailedScheduling", CLUSTER_AUTOSCALER: "NotTriggerScaleUp"}
"""Reasons of Events that say that no node can be added for the pod: of Karpenter (in the same file,
PodFailedToScheduleEvent, repeated every 5 minutes) and of cluster autoscaler
(processors/status/eventing_scale_up_processor.go). The scheduler uses ``FailedScheduling`` too."""
ABOUT_NODES = ("nodepool", "incompatible requirements", "instance type", "not tolerate")
"""Parts of Karpenter's messages about the nodes that it could add (nodeclaim.go and scheduler.go in
the same directory), such as "incompatible requirements, key karpenter.sh/capacity-type" (v1.14.1
with one NodePool) and "all available instance types exceed limits for nodepool". Its other
messages, for example about volume claims, say nothing about spot."""
VALID_FOR = timedelta(minutes=5)
"""After this time an announced node is not expected any more (docs/reference/behaviour.md, "Spot
shortage and return")."""
MAX_EVENTS = 5000
"""Per reason; a namespace with more of these Events has a tenant that writes them."""
KEPT_FOR = timedelta(seconds=4)
"""The workloads of a namespace share one read of its Events for this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerNews:
    """What the autoscalers have said last about the pods of a namespace."""

    announced: Set[str] = frozenset()
    """UIDs of the pods that a node was announced for."""
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By autoscaler and pod UID: why it adds no node."""

    def refused_by(self, component: str) -> Mapping[str, str]:
        """By pod UID: why this autoscaler adds no node, as a phrase."""
        return {
            uid: f"{component} says: {words}"
            for (by, uid), words in self.refused.items()
            if by == component
        }


def autoscaler_of(pin: Pin | None) -> str:
    """The autoscaler that would add a node for pods with this pin.

    Cluster autoscaler also says that it adds none for the pods that Karpenter adds nodes for.
    """
    keys = [key for key, _ in pin.node_selector] if pin is not None else []
    keys += [one.key for term in pin.terms for one in term] if pin is not None else []
    is_karpenter = any(key.startswith("karpenter.sh/") for key in keys)
    return KARPENTER if is_karpenter else CLUSTER_AUTOSCALER


class AutoscalerEvents:
    """Reads the Events of autoscalers, per namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: dict[str, tuple[datetime, AutoscalerNews]] = {}

    async def read(self, namespace: str, now: datetime, *, fresh: bool) -> AutoscalerNews:
        """What the autoscalers have said within the last 5 minutes.

        Args:
            namespace: the namespace of the pods.
            now: aware.
            fresh: do not use an answer of the last seconds.

        Raises:
            ApiError, TransportError: the Events could not be read.
        """
        self._kept = {n: kept for n, kept in self._kept.items() if now - kept[0] < KEPT_FOR}
        if not fresh and namespace in self._kept:
            return self._kept[namespace][1]
        events: list[tuple[str, Event]] = []
        for reason in (*ANNOUNCED, *REFUSED.values()):
            selected = CORE_EVENTS.with_fields(f"involvedObject.kind=Pod,reason={reason}")
            found = await self._client.list_first(selected, namespace, max_items=MAX_EVENTS)
            events += ((reason, event) for event in found)
        news = latest_news(events, now)
        self._kept[namespace] = (now, news)
        return news


def latest_news(events: list[tuple[str, Event]], now: datetime) -> AutoscalerNews:
    """What the latest Event of each autoscaler about each pod says.

    Args:
        events: with their reasons.
        now: Events that are older than 5 minutes say nothing.
    """
    announced_at: dict[str, datetime] = {}
    refused: dict[tuple[str, str], tuple[datetime, str]] = {}
    for reason, event in events:
        uid = event.involved_uid
        if event.at is None or now - event.at >= VALID_FOR:
            continue
        if reason in ANNOUNCED:
            announced_at[uid] = max(event.at, announced_at.get(uid, event.at))
            continue
        for key in _refusals(reason, event):
            if key not in refused or refused[key][0] <= event.at:
                refused[key] = (event.at, event.message)
    return AutoscalerNews(
        announced=announced_at.keys() - _withdrawn(announced_at, refused),
        refused={key: words for key, (_, words) in refused.items()},
    )


def _refusals(reason: str, event: Event) -> Iterator[tuple[str, str]]:
    component, message = event.component, event.message.lower()
    is_about_nodes = component != KARPENTER or any(words in message for words in ABOUT_NODES)
    if REFUSED.get(component) == reason and is_about_nodes:
        yield component, event.involved_uid


def _withdrawn(
    announced_at: Mapping[str, datetime], refused: Mapping[tuple[str, str], tuple[datetime, str]]
) -> Set[str]:
    """Pods that Karpenter has refused after it had announced a node for them."""
    return {
        uid
        for uid, at in announced_at.items()
        if (KARPENTER, uid) in refused and refused[KARPENTER, uid][0] > at
    }
