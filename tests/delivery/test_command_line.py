"""The plugin, called by the real kubectl, on a real API server.

On the first cluster nothing of Spotalis is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from scripts.policy_warnings import policy_warnings
from tests.delivery.kubectl import DEADLINE, Kubectl
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import (
    ControlPlane,
    ControlPlaneConfig,
    binaries_or_skip,
    eventually,
)

pytestmark = pytest.mark.real

READER = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster with workloads and without Spotalis."""
    folder = tmp_path_factory.mktemp("plane")
    rbac = folder / "reader.yaml"
    rbac.write_text(READER)
    with ControlPlane.boot(
        folder / "control_plane", ControlPlaneConfig(rbac=[rbac]), binaries=binaries_or_skip()
    ) as plane:
        plane.add_nodes(spot=2, on_demand=2)
        apps = "/apis/apps/v1/namespaces/default/deployments"
        for name, replicas, annotations in (
            ("web", 4, policy(50)),
            ("legacy", 2, {**policy(50), "spotalis.io/spot-percentage": "7O"}),
            ("paused", 2, {**policy(100), "spotalis.io/paused-until": "forever"}),
            ("plain", 4, {}),
        ):
            plane.request("POST", apps, workload_body("Deployment", name, replicas, annotations))
        eventually(
            lambda: all(
                one.get("status", {}).get("readyReplicas") == one["spec"]["replicas"]
                and one["status"]["observedGeneration"] == one["metadata"]["generation"]
                for one in plane.request("GET", apps)["items"]
            ),
            within=DEADLINE,
            what="every Deployment is ready",
        )
        yield plane


@pytest.fixture
def kubectl(plane: ControlPlane) -> Kubectl:
    return Kubectl(plane)


def test_status_shows_every_opted_in_workload_with_its_reason(kubectl: Kubectl) -> None:
    found = {item["name"]: item for item in kubectl.items("status", "-A")}
    assert {name: item["status"] for name, item in found.items()} == {
        "web": found["web"]["status"],
        "legacy": "InvalidPolicy",
        "paused": "Paused",
    }
    web = found["web"]
    assert web["have"]["spot"] + web["have"]["onDemand"] == 4
    assert web["want"] == {"onDemand": 2, "spot": 2, "unknown": 0}
    assert web["status"] == ("Balanced" if web["have"] == web["want"] else "Rebalancing")


def test_the_table_fits_into_80_columns_and_has_a_line_for_each_workload(kubectl: Kubectl) -> None:
    done = kubectl("status")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["NAME", "SPLIT", "ON-DEMAND", "SPOT", "STATUS", "AGE"]
    assert [line.split()[0] for line in lines[1:]] == [
        "deploy/legacy",
        "deploy/paused",
        "deploy/web",
    ]
    assert max(map(len, lines)) <= 80
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_wide_table_and_explain_name_what_waits_and_what_scales(
    kubectl: Kubectl, plane: ControlPlane
) -> None:
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "front", "uid": "1"}
    for name, workload, owners in (
        ("web", "web", []),
        ("keda-hpa-front", "paused", [{**owner, "controller": True}]),
    ):
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload}
        spec = {"minReplicas": 2, "maxReplicas": 9, "scaleTargetRef": target}
        metadata = {"name": name, "ownerReferences": owners}
        plane.request("POST", path, {"metadata": metadata, "spec": spec})
    done = kubectl("status", "-o", "wide")
    header, *lines = done.stdout.splitlines()
    assert header.split()[-5:] == ["PERCENT", "FLOOR", "WAITING-FOR", "SCALED-BY", "LAST-MOVE"]
    rows = {line.split()[0]: line.split()[-5:] for line in lines}
    assert rows["deploy/paused"] == ["100%", "0", "pause", "keda/front", "-"]
    assert rows["deploy/web"][3:] == ["hpa/web", "-"]
    assert rows["deploy/legacy"][2:] == ["policy", "-", "-"]
    assert "SCALED BY\n  hpa/web: 2 to 9 replicas" in kubectl("explain", "deploy/web").stdout
    assert kubectl.items("status")[2]["scaledBy"]["maxReplicas"] == 9
    restricted = kubectl("status", "-o", "wide", "--as", "nobody", "-n", "default")
    assert (
        "note: you may not list horizontalpodautoscalers in namespace default: "
        in restricted.stderr
    )


def test_plan_shows_what_it_would_do_for_workloads_that_have_not_opted_in(
    kubectl: Kubectl,
) -> None:
    plans = kubectl.items("plan", "--all", "--set", "spot-percentage=100")
    moves = {plan["split"]["name"]: plan for plan in plans}
    assert moves["plain"]["end"] == "Balanced"
    assert len(moves["plain"]["moves"]) == moves["plain"]["split"]["have"]["onDemand"]
    assert moves["paused"]["moves"] == []


def test_plan_shows_what_a_manifest_would_change(kubectl: Kubectl, plane: ControlPlane) -> None:
    manifest = json.dumps(workload_body("Deployment", "plain", 4, policy(100)))
    done = kubectl("plan", "-f", "-", "-o", "json", stdin=manifest)
    (plan,) = json.loads(done.stdout)["items"]
    assert plan["split"]["policy"]["spot-percentage"]["value"] == "100"
    assert len(plan["moves"]) == plan["split"]["have"]["onDemand"]
    assert kubectl("plan", "deploy/plain", "-o", "json").stdout.count('"evict') == 0


def test_the_settings_of_the_operator_count(kubectl: Kubectl, plane: ControlPlane) -> None:
    body = {"metadata": {"name": "spotalis-settings"}, "data": {"spotalis.yaml": "readOnly: true"}}
    plane.request("POST", "/api/v1/namespaces/kube-public/configmaps", body)
    words = (
        "plan",
        "--all",
        "--set",
        "spot-percentage=100",
        "--set",
        "paused-until=2020-01-01T00:00Z",
    )
    plans = kubectl.items(*words, "--operator-namespace", "kube-public")
    assert not any(plan["moves"] for plan in plans)
    assert "ReadOnly" in {plan["end"] for plan in plans}


def test_the_rescue_reads_the_name_of_the_lease_in_the_settings(
    kubectl: Kubectl, plane: ControlPlane
) -> None:
    namespace = "kube-node-lease"
    settings = {"spotalis.yaml": "leaderElection: {leaseName: another}"}
    config_map = {"metadata": {"name": "spotalis-settings"}, "data": settings}
    plane.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map)
    spec = {"holderIdentity": "a", "renewTime": "2020-01-01T00:00:00.000000Z"}
    lease = {"metadata": {"name": "another"}, "spec": {**spec, "leaseDurationSeconds": 15}}
    plane.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", lease)
    words = ("rescue", "--dry-run", "--operator-namespace", namespace)
    assert kubectl(*words).stdout.startswith("no instance has renewed its Lease for")
    found = kubectl(*words, "--lease-name", "spotalis").stdout
    assert found.startswith(f"the Lease {namespace}/spotalis does not exist")


def test_explain_answers_for_a_workload_a_pod_a_node_and_a_namespace(kubectl: Kubectl) -> None:
    assert "4 replicas x 50% = 2 spot" in kubectl("explain", "deploy/web").stdout
    node = kubectl.items("status", "--by", "node")[0]
    explained = kubectl("explain", f"node/{node['name']}").stdout
    assert explained.splitlines()[0] == f"node/{node['name']}: on-demand"
    assert "karpenter.sh/capacity-type" in explained
    assert "deploy/plain: not opted in" in kubectl("explain", "ns/default").stdout


def test_a_user_who_may_only_view_learns_which_right_is_missing(kubectl: Kubectl) -> None:
    done = kubectl("status", "--as", "reader")
    assert done.returncode == 0
    assert done.stderr == (
        "note: you may not list nodes in all namespaces: the capacity type of a pod is taken from "
        "its label spotalis.io/capacity-type\n"
    )
    assert len(done.stdout.splitlines()) == 4


def test_a_user_without_any_right_gets_one_note_for_each_kind(kubectl: Kubectl) -> None:
    done = kubectl("status", "--as", "stranger", "-n", "default")
    notes = done.stderr.splitlines()
    assert len([note for note in notes if note.startswith("note: you may not list ")]) >= 8
    assert done.returncode == 0


def test_a_write_without_the_right_names_the_right(kubectl: Kubectl) -> None:
    done = kubectl("pause", "deploy/web", "--as", "reader")
    assert done.returncode == 1
    assert done.stderr.startswith("error[SP003]: ")
    assert 'cannot patch resource "deployments"' in done.stderr


def test_set_pause_and_resume_change_annotations_only(
    kubectl: Kubectl, plane: ControlPlane
) -> None:
    def annotations() -> dict[str, str]:
        path = "/apis/apps/v1/namespaces/default/deployments/plain"
        found = plane.request("GET", path)["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if key.startswith("spotalis.io/")}

    assert kubectl("set", "deploy/plain", "min-on-demand=2", "--dry-run").returncode == 0
    assert annotations() == {}
    done = kubectl("set", "deploy/plain", "min-on-demand=2")
    assert done.stdout == "deployment.apps/plain annotated\n"
    assert annotations() == {"spotalis.io/min-on-demand": "2"}
    kubectl("pause", "deploy/plain", "--reason", "migration")
    assert annotations()["spotalis.io/paused-until"] == "forever"
    kubectl("resume", "deploy/plain")
    kubectl("set", "deploy/plain", "min-on-demand-")
    assert annotations() == {}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["explain", "deploy/wbe"],
            1,
            'deployment "wbe" not found in namespace "default"; did you mean "web"?',
        ),
        (["status", "--context", "nowhere"], 1, 'the kubeconfig has no context "nowhere"'),
        (["status", "--server", "https://127.0.0.1:1"], 1, "https://127.0.0.1:1 did not answer"),
        (["status", "--token", "wrong"], 1, "rejected the credentials"),
        (
            ["set", "deploy/web", "spot-percentage=7O"],
            2,
            "spot-percentage '7O' must be a whole number",
        ),
        (["plan", "--set", "spot-percentge=70"], 2, "did you mean 'spot-percentage'?"),
        (["statsu"], 2, "unknown command 'statsu'; did you mean 'status'?"),
    ],
)
def test_a_mistake_has_one_message_and_the_right_exit_code(
    kubectl: Kubectl, words: list[str], code: int, message: str
) -> None:
    done = kubectl(*words)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.startswith("error[SP")
    assert "Traceback" not in done.stderr
    assert "fix: " in done.stderr


def test_the_doctor_says_before_the_installation_what_is_missing(kubectl: Kubectl) -> None:
    checks = {item["name"]: item for item in kubectl.items("doctor", "--pre")}
    assert {name: item["state"] for name, item in checks.items()} == {
        "kubernetes": "ok",
        "permissions": "ok",
        "installing": "ok",
        "nodes": "ok",
        "unknown nodes": "ok",
        "other webhooks": "ok",
        "budgets": "ok",
    }
    assert checks["nodes"]["message"] == "2 on-demand and 2 spot, by karpenter"
    reader = {item["name"]: item for item in kubectl.items("doctor", "--pre", "--as", "reader")}
    assert reader["installing"]["state"] == "failed"
    assert kubectl("doctor", "--pre", "--as", "reader").returncode == 3


def test_the_doctor_finds_that_nothing_is_installed(kubectl: Kubectl) -> None:
    checks = {item["name"]: item for item in kubectl.items("doctor")}
    failed = {name for name, item in checks.items() if item["state"] == "failed"}
    assert failed == {"operator", "leader", "certificate", "webhook"}
    assert checks["policies"]["state"] == "warning"


def test_usage_and_completion_follow_the_name_of_the_plugin(kubectl: Kubectl) -> None:
    assert "kubectl spotalis status -A" in kubectl("--help").stdout
    assert kubectl("status", "--help").stdout.startswith("Usage: kubectl spotalis status ")


def test_kubectl_apply_warns_about_wrong_values_and_keys(kubectl: Kubectl) -> None:
    assert kubectl.apply(policy_warnings()).returncode == 0

    names = (f"warned-{number}" for number in range(1000))

    def namespace(annotations: dict[str, str]) -> list[str]:
        metadata = {"name": next(names), "annotations": annotations}
        done = kubectl.apply(
            json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        )
        assert done.returncode == 0, done.stderr
        return [line for line in done.stderr.splitlines() if "spotalis" in line]

    wrong = {"spotalis.io/spot-percentage": "7O", "spotalis.io/min-ondemand": "1"}
    eventually(lambda: len(namespace(wrong)) == 2, within=DEADLINE, what="the policy is in force")
    value, key = namespace(wrong)
    assert value.endswith(
        "spotalis.io/spot-percentage: whole number from 0 to 100, with or without %"
    )
    assert key.endswith("spotalis.io/min-ondemand is not read by Spotalis")
    right = {"spotalis.io/spot-percentage": " 70% ", "spotalis.io/spot-fallback": "1h30m"}
    assert namespace(right) == []
