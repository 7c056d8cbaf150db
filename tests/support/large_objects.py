"""Objects of a tenant with as many labels, requirements and claims as Spotalis keeps of one."""

from __future__ import annotations

from typing import Any

from spotalis.model.objects import PREFIX

Json = dict[str, Any]


def large_labels(number: int) -> Json:
    """1,302 labels, one of which Spotalis reads by name."""
    labels = {f"{k:x}": "" for k in range(1_300)}
    return {f"{PREFIX}capacity-type": "spot", **labels, "n": f"{number}"}


def large_selector(number: int, values: int = 700) -> Json:
    """A selector of 7 kB, whose record takes 50 KiB."""
    named = [f"{number:03x}{k:03x}" for k in range(values)]
    return {"matchExpressions": [{"key": "app", "operator": "In", "values": named}]}


def large_spec(number: int, claims: int = 0, values: int = 700) -> Json:
    """The spec of a pod that asks for 2 CPUs on one of 700 node pools, and mounts claims."""
    terms = {"nodeSelectorTerms": [large_selector(number, values)]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    container = {"name": "main", "image": "main:1", "resources": {"requests": {"cpu": "2"}}}
    names = [f"{number}-{k}-" + "c" * 200 for k in range(claims)]
    return {
        "schedulerName": "none",
        "affinity": {"nodeAffinity": required},
        "containers": [container],
        "volumes": [{"name": n[:60], "persistentVolumeClaim": {"claimName": n}} for n in names],
    }
