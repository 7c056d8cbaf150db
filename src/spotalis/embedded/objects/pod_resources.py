"""The resource requests of pods (by the rule of ``spotalis.model.pod_requests``)."""

from __future__ import annotations

from collections.abc import Mapping

from spotalis.embedded.objects.resources import Object
from spotalis.model import pod_requests as rule
from spotalis.model.quantity import ResourceList, parse_resource_list

_BINARY_SUFFIXES = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def pod_requests(
    spec: Object, defaults: Mapping[str, int] | None = None, *, pod_level: bool = True
) -> ResourceList:
    """The requests of a pod as a whole.

    Args:
        spec: the pod spec; the API server has written a request for every limit without one.
        defaults: used for resources that a container does not request.
        pod_level: whether pod-level requests override those of the containers.
    """

    def of_container(container: Object) -> ResourceList:
        return {**(defaults or {}), **_requests(container)}

    return rule.pod_requests(
        [of_container(container) for container in spec.get("containers") or ()],
        [
            rule.InitContainer(of_container(container), container.get("restartPolicy") == "Always")
            for container in spec.get("initContainers") or ()
        ],
        pod_level=_requests(spec) if pod_level else None,
        overhead=parse_resource_list(spec.get("overhead")) if pod_level else None,
    )


def format_quantity(name: str, amount: int) -> str:
    """Write an amount of a :data:`ResourceList` as a quantity in canonical form."""
    if name == "cpu":
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    suffix = ""
    for larger in _BINARY_SUFFIXES:
        if amount % 1024 or not amount:
            break
        amount, suffix = amount // 1024, larger
    return f"{amount}{suffix}"


def _requests(holder: Object) -> ResourceList:
    return parse_resource_list((holder.get("resources") or {}).get("requests"))
