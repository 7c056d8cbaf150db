"""Defaults that the API server writes into objects.

Left out: defaults of volumes, probes and security contexts, and of kinds without behavior.
"""

from __future__ import annotations

from typing import Any

from spotalis.embedded.objects.pod_resources import format_quantity, pod_requests
from spotalis.embedded.objects.resources import Object

_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_TOLERATED_SECONDS = 300
_UNDATED = {"lastProbeTime": None, "lastTransitionTime": None}
"""Times of pod conditions, which are null if they are unknown."""


def set_defaults(plural: str, obj: Object) -> None:
    """Set the defaults of a kind, in place."""
    default = _DEFAULTS.get(plural)
    if default is not None:
        default(obj)


def fill_condition_times(plural: str, obj: Object) -> None:
    """Add null times to the conditions of a pod, in place."""
    status = obj.get("status") or {}
    if plural == "pods" and status.get("conditions"):
        status["conditions"] = [{**_UNDATED, **one} for one in status["conditions"]]


def run_admission_plugins(plural: str, obj: Object) -> None:
    """Run the built-in admission plugins for a new object, in place, before any webhook.

    DefaultTolerationSeconds and Priority for pods, TaintNodesByCondition for nodes.
    """
    if plural == "pods":
        spec = obj["spec"]
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        add_default_tolerations(spec)
    elif plural == "nodes":
        taints = obj.setdefault("spec", {}).setdefault("taints", [])
        if not any(t.get("key") == _TAINTS[0] and t["effect"] == "NoSchedule" for t in taints):
            taints.append({"key": _TAINTS[0], "effect": "NoSchedule"})


def add_default_tolerations(spec: Object) -> None:
    """Run admission plugin DefaultTolerationSeconds on a pod, in place."""
    tolerations = spec.get("tolerations") or []
    for key in _TAINTS:
        if not any(
            one.get("key", "") in ("", key) and one.get("effect", "") in ("", "NoExecute")
            for one in tolerations
        ):
            tolerations.append(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _TOLERATED_SECONDS,
                }
            )
    spec["tolerations"] = tolerations


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container["resources"]
        limits = resources.get("limits")
        if limits:  # a limit without a request becomes one in pods, but not in templates
            resources["requests"] = {**limits, **(resources.get("requests") or {})}
    _pod_level_requests(spec)


def _pod_level_requests(spec: Object) -> None:
    """Complete the requests of a pod with pod-level limits (upstream: defaultPodRequests).

    They default to what the containers request, or to the limit if no container requests the
    resource.
    """
    resources = spec.get("resources") or {}
    limits = resources.get("limits")
    if not limits:
        return
    requests = dict(resources.get("requests") or {})
    for name, amount in pod_requests(spec, pod_level=False).items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, format_quantity(name, amount))
    for name, limit in limits.items():
        requests.setdefault(name, limit)
    resources["requests"] = requests


def _pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        _container(container)
    for constraint in spec.get("topologySpreadConstraints") or ():
        constraint.setdefault("maxSkew", 1)


def _container(container: Object) -> None:
    image = container.get("image") or ""
    _, _, last = image.rpartition("/")
    floating = "@" not in last and (":" not in last or last.endswith(":latest"))
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", "Always" if floating else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")


def _template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    metadata = template.setdefault("metadata", {})
    for field in ("labels", "annotations", "finalizers"):
        if not metadata.get(field):
            metadata.pop(field, None)
    _pod_spec(template.setdefault("spec", {}))


def _deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _set_default(spec, "replicas", 1)
    _template(spec)
    if not spec.get("paused"):
        spec.pop("paused", None)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        strategy["rollingUpdate"] = rolling
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _statefulset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _set_default(spec, "replicas", 1)
    _template(spec)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        strategy["rollingUpdate"] = rolling
        rolling.setdefault("partition", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")


def _replicaset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _set_default(spec, "replicas", 1)
    _template(spec)


def _namespace(obj: Object) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def _budget(obj: Object) -> None:
    obj.setdefault("spec", {})


def _event(obj: Object) -> None:
    obj.setdefault("source", {})
    for time in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(time, None)
    for name in ("reportingComponent", "reportingInstance"):
        obj.setdefault(name, "")


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")


def _webhooks(obj: Object) -> None:
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        webhook.setdefault("reinvocationPolicy", "Never")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)
        for rule in webhook.get("rules") or ():
            rule.setdefault("scope", "*")


def _set_default(spec: Object, name: str, value: Any) -> None:
    """Like ``setdefault``, but null counts as absent."""
    if spec.get(name) is None:
        spec[name] = value


_DEFAULTS = {
    "pods": _pod,
    "deployments": _deployment,
    "statefulsets": _statefulset,
    "replicasets": _replicaset,
    "namespaces": _namespace,
    "poddisruptionbudgets": _budget,
    "events": _event,
    "secrets": _secret,
    "mutatingwebhookconfigurations": _webhooks,
}
