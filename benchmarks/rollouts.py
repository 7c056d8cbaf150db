"""Admission of pods of Rollouts that did not opt in, on the real control plane."""

from __future__ import annotations

from typing import Any

from benchmarks.client import milliseconds, send_load
from benchmarks.figure import Figure
from benchmarks.objects import deployment
from benchmarks.operators import SPOTALIS, Bench, booted
from testbed import build
from testbed.programs import ROLLOUTS
from tests.support.control_plane import ControlPlane
from tests.support.rollouts import API, PERMISSIONS

COUNT = 50
RATE = 100
SECONDS = 10
CONNECTIONS = 4


def measure() -> list[Figure]:
    """Measure latency, and the requests that the operator sends to the API server meanwhile."""
    crds = build.crds_file(build.obtain(ROLLOUTS)["rollouts-controller"])
    with booted(SPOTALIS, rbac=[PERMISSIONS]) as bench:
        bench.control_plane.kubectl("create", "-f", str(crds))
        bench.control_plane.kubectl("wait", "--for=condition=Established", "-f", str(crds))
        owners = _create_owners(bench.control_plane)
        with bench.running():
            return _measure(bench, owners)


def _create_owners(control_plane: ControlPlane) -> list[dict[str, str]]:
    """Create Rollouts without a policy and their ReplicaSets, without controllers."""
    control_plane.stop_process("kube-controller-manager")
    owners = []
    for number in range(COUNT):
        body: dict[str, Any] = deployment(f"web-{number}", RATE * SECONDS)
        spec, meta = body["spec"], {"name": body["metadata"]["name"]}
        rollout = control_plane.request(
            "POST",
            f"{API}/namespaces/default/rollouts",
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": meta}
            | {"spec": {**spec, "strategy": {"canary": {}}}},
        )
        parent = {key: rollout[key] for key in ("apiVersion", "kind")}
        parent |= {"name": meta["name"], "uid": rollout["metadata"]["uid"], "controller": True}
        replica_set = control_plane.request(
            "POST",
            "/apis/apps/v1/namespaces/default/replicasets",
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {"name": f"{meta['name']}-1", "ownerReferences": [parent]},
                "spec": spec,
            },
        )
        owners.append({key: replica_set["metadata"][key] for key in ("name", "uid")})
    return owners


def _measure(bench: Bench, owners: list[dict[str, str]]) -> list[Figure]:
    reads = _count_reads(bench.control_plane)
    latencies = send_load(bench.ports()[0], CONNECTIONS, owners, rate=RATE, seconds=SECONDS)
    how = f"{RATE} requests/s for {SECONDS} s over {CONNECTIONS} connections, open loop"
    return [
        *(
            Figure(
                name=f"webhook {word}, pods of Rollouts that did not opt in",
                value=milliseconds(latencies, share),
                unit="ms",
                at_most=20.0 if word == "p99" else None,
                how=how if word == "p50" else "",
            )
            for word, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        ),
        Figure(
            name="requests to the API server for these pods",
            value=_count_reads(bench.control_plane) - reads,
            unit="requests",
            at_most=0.5,
        ),
    ]


def _count_reads(control_plane: ControlPlane) -> int:
    owners = {"replicasets", "deployments", "rollouts"}
    events = control_plane.audit(user="spotalis", verb="get")
    return sum(event.kind in owners and bool(event.name) for event in events)
