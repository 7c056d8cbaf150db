"""The real control plane of the test bed works as every scenario expects."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.support.control_plane import (
    CAPACITY_TYPE_LABEL,
    ApiError,
    ControlPlane,
    ControlPlaneConfig,
    Json,
    binaries_or_skip,
    eventually,
)
from tests.support.manifests import budget, workload

pytestmark = pytest.mark.real

DEADLINE = 90.0  # seconds; everything here takes one or two on an idle machine


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with two nodes of each capacity type."""
    folder = tmp_path_factory.mktemp("control_plane")
    with ControlPlane.boot(folder, binaries=binaries_or_skip()) as control_plane:
        control_plane.add_nodes(spot=2, on_demand=2)
        yield control_plane


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A namespace for the test, named after it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[-50:].strip("-")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    return name


def create(control_plane: ControlPlane, namespace: str, manifest: Json) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/{manifest['kind'].lower()}s"
    control_plane.request("POST", path, manifest)


def wait_until_ready(control_plane: ControlPlane, namespace: str, replicas: int) -> list[Json]:
    def exactly_these() -> list[Json]:
        pods = control_plane.pods(namespace)
        ready = control_plane.ready_pods(namespace)
        return ready if len(pods) == len(ready) == replicas else []

    what = f"{replicas} ready pods in {namespace}"
    return eventually(exactly_these, within=DEADLINE, what=what)


def ready_condition(pod: Json) -> Json:
    conditions = pod["status"].get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


def is_alive(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")
    except FileNotFoundError:
        return False


def test_nodes_have_a_capacity_type_and_accept_pods(control_plane: ControlPlane) -> None:
    nodes = control_plane.request("GET", "/api/v1/nodes")["items"]
    classes = {n["metadata"]["name"]: n["metadata"]["labels"][CAPACITY_TYPE_LABEL] for n in nodes}
    assert classes.items() >= {
        ("spot-1", "spot"), ("spot-2", "spot"),
        ("on-demand-1", "on-demand"), ("on-demand-2", "on-demand"),
    }  # fmt: skip
    assert all(node["status"]["allocatable"]["cpu"] == "32" for node in nodes)


def test_an_eviction_by_the_operator_is_counted_exactly_once(
    control_plane: ControlPlane, namespace: str
) -> None:
    create(control_plane, namespace, workload("Deployment", "web", 10))
    pods = wait_until_ready(control_plane, namespace, 10)
    assert all(ready_condition(pod)["lastTransitionTime"] for pod in pods)
    victim = pods[3]["metadata"]

    control_plane.evict(namespace, victim["name"], uid=victim["uid"], user="spotalis")

    evicted = [e for e in control_plane.evictions("spotalis") if e.namespace == namespace]
    assert [(e.name, e.precondition_uid) for e in evicted] == [(victim["name"], victim["uid"])]
    assert [e for e in control_plane.evictions("admin") if e.namespace == namespace] == []
    after = wait_until_ready(control_plane, namespace, 10)
    uids = {pod["metadata"]["uid"] for pod in pods}
    assert len(uids & {pod["metadata"]["uid"] for pod in after}) == 9


def test_a_stateful_set_starts_its_pods_in_order_with_stable_names(
    control_plane: ControlPlane, namespace: str
) -> None:
    create(control_plane, namespace, workload("StatefulSet", "web", 3, serviceName="web"))
    pods = wait_until_ready(control_plane, namespace, 3)
    assert [pod["metadata"]["name"] for pod in pods] == ["web-0", "web-1", "web-2"]
    born = [pod["metadata"]["creationTimestamp"] for pod in pods]
    assert born == sorted(born)


def test_a_budget_blocks_an_eviction_with_status_429(
    control_plane: ControlPlane, namespace: str
) -> None:
    create(control_plane, namespace, workload("Deployment", "web", 2))
    pods = wait_until_ready(control_plane, namespace, 2)
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    control_plane.request("POST", budgets, budget("web", {"app": "web"}, minAvailable=2))
    eventually(
        lambda: control_plane.request("GET", f"{budgets}/web")["status"].get("currentHealthy") == 2,
        within=DEADLINE,
        what="the budget has seen both pods",
    )

    with pytest.raises(ApiError) as refusal:
        control_plane.evict(namespace, pods[0]["metadata"]["name"], user="spotalis")

    assert refusal.value.status == 429
    assert refusal.value.reason == "TooManyRequests"
    assert refusal.value.answer["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert [e for e in control_plane.evictions("spotalis") if e.namespace == namespace] == []
    tries = [e for e in control_plane.audit(user="spotalis", kind="pods/eviction") if e.code == 429]
    assert [e.namespace for e in tries] == [namespace]


def test_the_operators_user_may_evict_pods_but_not_delete_them_or_read_secrets(
    control_plane: ControlPlane,
) -> None:
    for method, path in (
        ("DELETE", "/api/v1/namespaces/default/pods/any"),
        ("GET", "/api/v1/namespaces/default/secrets"),
        ("PATCH", "/api/v1/nodes/spot-1"),
    ):
        with pytest.raises(ApiError) as refusal:
            control_plane.request(method, path, {} if method == "PATCH" else None, user="spotalis")
        assert refusal.value.status == 403
    assert control_plane.request("GET", "/api/v1/nodes", user="spotalis")["items"]
    assert (
        control_plane.kubectl(
            "auth", "can-i", "create", "pods", "--subresource=eviction", user="spotalis"
        )
        == "yes\n"
    )


@pytest.mark.parametrize("health", ["never-ready", "crash"])
def test_an_annotation_makes_a_pod_unready_and_ready_again(
    control_plane: ControlPlane, namespace: str, health: str
) -> None:
    create(control_plane, namespace, workload("Deployment", "web", 1))
    [pod] = wait_until_ready(control_plane, namespace, 1)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    annotation = "testbed.spotalis.io/health"

    control_plane.request("PATCH", path, {"metadata": {"annotations": {annotation: health}}})
    eventually(
        lambda: ready_condition(control_plane.request("GET", path))["status"] == "False",
        within=DEADLINE,
        what=f"{path} is not ready",
    )
    container = control_plane.request("GET", path)["status"]["containerStatuses"][0]
    is_crashing = container["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    assert is_crashing == (health == "crash")

    control_plane.request("PATCH", path, {"metadata": {"annotations": {annotation: None}}})
    wait_until_ready(control_plane, namespace, 1)


def test_slow_and_pending_pods_do_not_delay_others(
    control_plane: ControlPlane, namespace: str
) -> None:
    slow = {"testbed.spotalis.io/ready-after": "1h"}
    create(control_plane, namespace, workload("Deployment", "web", 2, annotations=slow))
    stuck = workload("StatefulSet", "web", 1, annotations={"testbed.spotalis.io/health": "pending"})
    stuck["spec"]["serviceName"] = "web"
    create(control_plane, namespace, stuck)
    eventually(
        lambda: (
            [p["spec"].get("nodeName") is not None for p in control_plane.pods(namespace)]
            == [True] * 3
        ),
        within=DEADLINE,
        what="three bound pods",
    )
    quick: Json = workload("Deployment", "web", 1)["spec"]["template"]
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "quick"}, "spec": quick["spec"]}
    control_plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
    eventually(
        lambda: control_plane.ready_pods(namespace), within=DEADLINE, what="the quick pod is ready"
    )
    assert [pod["metadata"]["name"] for pod in control_plane.ready_pods(namespace)] == ["quick"]


def test_removing_a_node_removes_its_pods(control_plane: ControlPlane, namespace: str) -> None:
    [name] = control_plane.add_nodes(spot=1, labels={"pool": namespace})
    selector = {"nodeSelector": {"pool": namespace}}
    create(control_plane, namespace, workload("Deployment", "web", 3, pod=selector))
    lost = {pod["metadata"]["uid"] for pod in wait_until_ready(control_plane, namespace, 3)}

    control_plane.remove_nodes(name)

    def replaced() -> bool:
        pods = control_plane.pods(namespace)
        return len(pods) == 3 and not lost & {pod["metadata"]["uid"] for pod in pods}

    eventually(replaced, within=DEADLINE, what="three new pods")
    control_plane.add_nodes(spot=1, labels={"pool": namespace})
    wait_until_ready(control_plane, namespace, 3)


def test_a_node_becomes_not_ready_and_ready_again(control_plane: ControlPlane) -> None:
    [name] = control_plane.add_nodes(on_demand=1)
    path = f"/api/v1/nodes/{name}"
    for health, status in (("not-ready", "False"), (None, "True")):
        change = {"metadata": {"annotations": {"testbed.spotalis.io/health": health}}}
        control_plane.request("PATCH", path, change)

        def has_status(wanted: str = status) -> bool:
            node = control_plane.request("GET", path)
            tainted = any("not-ready" in t["key"] for t in node["spec"].get("taints", []))
            return ready_condition(node)["status"] == wanted and tainted == (wanted == "False")

        eventually(has_status, within=DEADLINE, what=f"Ready is {status}")
    control_plane.remove_nodes(name)


def test_the_registered_webhook_receives_pods_of_replica_sets(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    reviews = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            reviews.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"https://127.0.0.1:{server.server_address[1]}/mutate"
        control_plane.register_webhook(url, authority.cert_pem.bytes())
        create(control_plane, namespace, workload("Deployment", "web", 1))

        def is_called() -> bool:
            for pod in control_plane.ready_pods(namespace):
                control_plane.evict(namespace, pod["metadata"]["name"])
            return bool(reviews)

        eventually(is_called, within=DEADLINE, what="the webhook is called")
        wait_until_ready(control_plane, namespace, 1)  # it fails, and the failure is ignored
        assert {path.partition("?")[0] for path in reviews} == {"/mutate"}
    finally:
        kind = "mutatingwebhookconfigurations"
        control_plane.request("DELETE", f"/apis/admissionregistration.k8s.io/v1/{kind}/spotalis")
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_api_server_restarts_with_other_limits(
    control_plane: ControlPlane, namespace: str
) -> None:
    before = len(control_plane.audit())
    control_plane.restart_api_server(extra_args=["--max-requests-inflight=77"])
    arguments = (
        Path(f"/proc/{control_plane.pids()['kube-apiserver']}/cmdline").read_bytes().split(b"\0")
    )
    assert b"--max-requests-inflight=77" in arguments
    create(control_plane, namespace, workload("Deployment", "web", 2))
    wait_until_ready(control_plane, namespace, 2)
    assert len(control_plane.audit()) > before


def test_a_paused_scheduler_binds_no_pod_until_it_resumes(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.pause("kube-scheduler")
    try:
        create(control_plane, namespace, workload("Deployment", "web", 1))
        eventually(lambda: control_plane.pods(namespace), within=DEADLINE, what="a pod")
        state = Path(f"/proc/{control_plane.pids()['kube-scheduler']}/stat").read_text()
        assert state.rpartition(")")[2].split()[0] == "T"
        assert "nodeName" not in control_plane.pods(namespace)[0]["spec"]
    finally:
        control_plane.resume("kube-scheduler")
    wait_until_ready(control_plane, namespace, 1)


def test_the_controller_manager_stops_and_starts_again(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.stop_process("kube-controller-manager")
    assert "kube-controller-manager" not in control_plane.pids()
    create(control_plane, namespace, workload("Deployment", "web", 2))
    assert control_plane.pods(namespace) == []
    control_plane.start_process("kube-controller-manager")
    wait_until_ready(control_plane, namespace, 2)


def test_two_control_planes_run_side_by_side_and_stop_without_leftover_processes(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    config = ControlPlaneConfig(ready_after=0, gone_after=0, users={"reader": ["readers"]})
    with ControlPlane.boot(tmp_path / "second", config) as second:
        assert second.server != control_plane.server
        assert second.request("GET", "/api/v1/nodes")["items"] == []
        assert second.add_nodes(on_demand=1) == ["on-demand-1"]
        with pytest.raises(ApiError) as refusal:
            second.request("GET", "/api/v1/nodes", user="reader")
        assert refusal.value.status == 403
        pids = list(second.pids().values())
        assert len(pids) == 5
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)
    second.stop()  # a second call does nothing
    assert all(is_alive(pid) for pid in control_plane.pids().values())


def test_a_control_plane_ends_with_the_process_that_booted_it(
    tmp_path: Path,
) -> None:
    binaries_or_skip()
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tests.support.control_plane import ControlPlane\n"
        "control_plane = ControlPlane.boot(Path(sys.argv[1]))\n"
        "print(*control_plane.pids().values(), flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        try:
            assert process.stdout is not None
            pids = [int(pid) for pid in process.stdout.readline().split()]
            assert len(pids) == 5
            assert all(is_alive(pid) for pid in pids)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    eventually(
        lambda: not any(is_alive(pid) for pid in pids), within=DEADLINE, what="all have ended"
    )
