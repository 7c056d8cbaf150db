"""The resources that the scheduler reserves for a pod.

The rule is ``PodRequests`` of k8s.io/component-helpers (resource/helpers.go), with native sidecars
(init containers whose ``restartPolicy`` is ``Always``) and pod-level resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spotalis.model.quantity import Quantity, ResourceList, parse_resource_list


class InitContainer(NamedTuple):
    """An init container, as far as the scheduler counts it."""

    requests: ResourceList
    is_sidecar: bool
    """Its ``restartPolicy`` is ``Always``: it keeps running beside the containers."""


def effective_requests(
    requests: Mapping[str, Quantity] | None, limits: Mapping[str, Quantity] | None
) -> ResourceList:
    """The requests of one container.

    A limit without a request counts as a request. The API server writes this default into pods,
    but not into pod templates.

    Raises:
        ValueError: one of the values is not a quantity.
    """
    return parse_resource_list(limits) | parse_resource_list(requests)


def pod_requests(
    containers: Iterable[ResourceList],
    init_containers: Iterable[InitContainer] = (),
    *,
    pod_level: Mapping[str, int] | None = None,
    pod_level_limits: Mapping[str, int] | None = None,
    overhead: Mapping[str, int] | None = None,
) -> ResourceList:
    """The sum of what runs at the same time: the containers, or the largest step of initialization.

    Args:
        containers: the requests of each container.
        init_containers: in the order in which they start.
        pod_level: requests of ``spec.resources``; they replace the sum for each resource they name.
        pod_level_limits: limits of ``spec.resources``; they count for resources without any request
            (``defaultPodRequests`` of pkg/apis/core/v1/defaults.go, absent in pod templates).
        overhead: ``spec.overhead``; added to the total.
    """
    running = _sum(containers)
    sidecars: ResourceList = {}
    initializing: ResourceList = {}
    for container in init_containers:
        step = _sum((sidecars, container.requests))
        initializing = _max(initializing, step)
        if container.is_sidecar:
            sidecars = step
            running = _sum((running, container.requests))
    total = _max(running, initializing)
    total = {**(pod_level_limits or {}), **total, **(pod_level or {})}
    return _sum((total, overhead or {}))


def _sum(parts: Iterable[Mapping[str, int]]) -> ResourceList:
    total: ResourceList = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _max(left: ResourceList, right: ResourceList) -> ResourceList:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}
