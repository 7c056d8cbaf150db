"""Builders of the objects that scripts create."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.history import Json
from tests.conformance.session import Session
from tests.support import manifests

NOWHERE = "nowhere"
"""A node that does not exist: a pod bound to it has no kubelet, so the script sets its status."""
NEVER_READY = {
    "testbed.spotalis.io/health": "never-ready",  # kwok
    "embedded.spotalis.io/ready": "never",
}
"""Annotations of a pod that runs but never becomes ready, on either cluster."""
LABELS = {"app": "web"}


def a_config_map(name: str, data: Mapping[str, str] | None = None, **metadata: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": dict(LABELS), **metadata},
        "data": dict(data or {"a": "1"}),
    }


def a_lease(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": spec,
    }


def a_pod(name: str, *, node: str = "", spec: Json | None = None, **metadata: Any) -> Json:
    """A pod that no scheduler handles, bound to ``node`` if it is given."""
    bound = {"nodeName": node} if node else {}
    return manifests.pod(
        name,
        metadata={"labels": dict(LABELS), **metadata},
        spec={"schedulerName": "none", **bound, **(spec or {})},
    )


def a_budget(name: str, labels: Mapping[str, str] = LABELS, **spec: Any) -> Json:
    return manifests.budget(name, labels, **spec)


a_workload = manifests.workload


async def create_running_pod(
    session: Session, name: str, *, ready: bool = True, phase: str = "Running", **metadata: Any
) -> Json:
    """Create a pod on the node that does not exist, and set the status that its kubelet would."""
    made = await session.quiet.post("pods", a_pod(name, node=NOWHERE, **metadata))
    assert made.status == 201, made.body
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"status": {"phase": phase, "conditions": conditions}}
    patched = await session.quiet.patch(f"pods/{name}/status", status)
    assert patched.status == 200, patched.body
    found: Json = patched.body
    return found


async def create_budget(session: Session, budget: Json, expected: int, healthy: int) -> None:
    """Create a budget, and wait until the disruption controller has counted its pods."""
    made = await session.quiet.post("poddisruptionbudgets", budget)
    assert made.status == 201, made.body
    await until_counted(session, budget["metadata"]["name"], expected, healthy)


async def until_counted(session: Session, name: str, expected: int, healthy: int) -> Json:
    """Wait until the status of a budget has these numbers of pods and of healthy pods."""
    found: Json = await session.until(
        f"poddisruptionbudgets/{name}",
        lambda budget: (
            budget["status"]["expectedPods"] == expected
            and budget["status"]["currentHealthy"] == healthy
            and budget["status"].get("observedGeneration") == budget["metadata"]["generation"]
        ),
        f"budget {name} counts {healthy} of {expected}",
    )
    return found


async def until_disruptions_handled(session: Session, name: str) -> None:
    """Wait until ``disruptedPods`` is empty.

    The disruption controller may count once before it removes an entry, and once after.
    """
    await session.until(
        f"poddisruptionbudgets/{name}",
        lambda budget: not budget["status"].get("disruptedPods"),
        f"budget {name} has no disrupted pods",
    )
