"""Memory and webhook latency of an operator process on the real control plane."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figure import Figure
from benchmarks.objects import NODES, deployment, node, pod
from scripts.manifests import PERMISSION_FILES
from testbed import build
from tests.support.control_plane import ControlPlane, ControlPlaneConfig
from tests.support.eventually import eventually
from tests.support.free_ports import claim_ports

WORKLOADS = 1_000
PODS_EACH = 10
SCALED_TO = 50
"""Replicas of each workload during the load, more than the load has requests per workload.

Every request is then for a pod that its owner lacks. The webhook delays a request for a surplus pod
until its cache shows why the pod exists; that delay is not what this benchmark measures.
"""
IDLE_SECONDS = 30
RATE = 1_000
SECONDS = 10
ROOT = Path(__file__).parents[1]


def measure() -> list[Figure]:
    """Measure with 1,000 workloads and 10,000 pods, at 1,000 admission requests per second."""
    binaries = build.obtain(report=lambda line: print(line, file=sys.stderr))
    ports = claim_ports()
    with tempfile.TemporaryDirectory(prefix="spotalis-bench-") as name:
        folder = Path(name)
        config = ControlPlaneConfig(rbac=PERMISSION_FILES)
        try:
            with ControlPlane.boot(
                folder / "control_plane", config, binaries=binaries
            ) as control_plane:
                owners = _fill(control_plane)
                return _measure(control_plane, folder, ports.ports, owners)
        finally:
            ports.release()


def _fill(control_plane: ControlPlane) -> list[dict[str, str]]:
    """Create nodes, Deployments and running pods; return the ReplicaSets that own the pods."""
    print("filling the cluster (about two minutes)", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(8) as pool:

        def post(path: str, body: dict[str, Any]) -> Future[Any]:
            return pool.submit(control_plane.request, "POST", path, body)

        _wait([post("/api/v1/nodes", node(number)) for number in range(NODES)])
        path = "/apis/apps/v1/namespaces/default/deployments"
        _wait([post(path, deployment(f"web-{n}", 0)) for n in range(WORKLOADS)])
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        eventually(
            lambda: len(control_plane.request("GET", sets)["items"]) == WORKLOADS,
            within=120,
            what="every Deployment has its ReplicaSet",
        )
        # Its controllers would delete the pods created below; the figures need stored objects only.
        control_plane.stop_process("kube-controller-manager")
        owners = [
            {"name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}
            for item in control_plane.request("GET", sets)["items"]
        ]
        pods = []
        for index, owner in enumerate(owners):
            for nth in range(PODS_EACH):
                body = pod(index * PODS_EACH + nth, owner["name"], owner["uid"])
                for key in ("uid", "resourceVersion", "managedFields", "creationTimestamp"):
                    body["metadata"].pop(key)
                pods.append(post("/api/v1/namespaces/default/pods", body))
        _wait(pods)
    return owners


def _scale_up(control_plane: ControlPlane, owners: list[dict[str, str]]) -> None:
    base = "/apis/apps/v1/namespaces/default"
    scale = {"spec": {"replicas": SCALED_TO}}
    paths = [f"{base}/deployments/web-{number}" for number in range(WORKLOADS)]
    paths += [f"{base}/replicasets/{owner['name']}" for owner in owners]
    with ThreadPoolExecutor(8) as pool:
        _wait([pool.submit(control_plane.request, "PATCH", path, scale) for path in paths])


def _wait(futures: list[Any]) -> None:
    for future in futures:
        future.result()


def _measure(
    control_plane: ControlPlane, folder: Path, ports: tuple[int, ...], owners: list[dict[str, str]]
) -> list[Figure]:
    webhook, _, health = ports[:3]
    configuration = yaml.safe_load((ROOT / "build" / "k8s" / "webhook.yaml").read_text())
    for entry in configuration["webhooks"]:
        entry["clientConfig"] = {"url": f"https://127.0.0.1:{webhook}/mutate"}
    control_plane.apply([configuration])
    began = time.perf_counter()
    operator = start_operator(control_plane, folder, ports)
    try:
        wait_until_ready(health)
        ready_seconds = time.perf_counter() - began
        time.sleep(IDLE_SECONDS)
        figures = [
            Figure(
                name="start to ready",
                value=ready_seconds,
                unit="s",
                how="process start, initial lists, certificate creation",
            ),
            *_memory(operator.pid, "after 30 s idle", 80.0),
        ]
        _scale_up(control_plane, owners)
        for connections in (1, 8, 32):
            figures += _latency(webhook, connections, owners)
        figures += _memory(operator.pid, "after the load", None)
        return figures
    finally:
        operator.terminate()
        operator.wait(20)


def start_operator(
    control_plane: ControlPlane, folder: Path, ports: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    """Start an operator with these ports for webhook, metrics and health."""
    command = [sys.executable, "-m", "spotalis", "controller", "--host", "127.0.0.1"]
    command += ["--kubeconfig", str(control_plane.kubeconfig("spotalis"))]
    for flag, port in zip(("webhook", "metrics", "health"), ports, strict=False):
        command += [f"--{flag}-port", str(port)]
    with (folder / "operator.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_until_ready(health_port: int) -> None:
    """Wait until the operator is ready."""
    eventually(lambda: _ready(health_port), within=60, what="the operator is ready")


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _memory(pid: int, when: str, goal: float | None) -> list[Figure]:
    status = Path(f"/proc/{pid}/status").read_text()
    figures = []
    for name, field, at_most in (("RSS", "VmRSS", goal), ("RSS high water", "VmHWM", None)):
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found is not None
        figures.append(
            Figure(
                name=f"{name} {when}",
                value=int(found[1]) / 1024,
                unit="MiB",
                at_most=at_most,
                how=f"{WORKLOADS} Deployments, {WORKLOADS * PODS_EACH} pods, {NODES} nodes",
            )
        )
    return figures


def _latency(port: int, connections: int, owners: list[dict[str, str]]) -> list[Figure]:
    latencies = send_load(port, connections, owners, rate=RATE, seconds=SECONDS)
    how = f"open loop, {RATE} requests/s for {SECONDS} s, TLS keep-alive, client on the other core"
    return [
        Figure(
            name=f"webhook {word} at {connections} connections",
            value=1000 * percentile(latencies, share),
            unit="ms",
            at_most=10.0 if word == "p99" and connections == 32 else None,
            how=how if word == "p50" else "",
        )
        for word, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    ]


def percentile(ordered: list[float], share: float) -> float:
    """The value below which this share of the ordered values is."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def send_load(
    port: int, connections: int, owners: list[dict[str, str]], *, rate: int, seconds: int
) -> list[float]:
    """Send admission requests for pods of these ReplicaSets; return the latencies in order."""
    plan = {
        "port": port,
        "connections": connections,
        "rate": rate,
        "seconds": seconds,
        "owners": owners,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    latencies = sorted(json.loads(done.stdout))
    assert len(latencies) == rate * seconds
    return latencies
