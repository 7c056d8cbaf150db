"""build/k8s/install.yaml on a real API server, and an operator with exactly the rights it grants.

What only a network of pods could do is stood in for: the operator runs beside the control plane
instead of in its pods, so the webhook configuration gets its address in place of the Service's.
"""

from __future__ import annotations

import base64
import json
import os  # a process needs its PATH
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from tests.delivery.rights import granted, in_every_run
from tests.support.bed import Wishes, workload_body
from tests.support.free_ports import claim_ports
from tests.support.real_bed import (
    CAPACITY_TYPE_LABEL,
    AuditEvent,
    BedConfig,
    Json,
    RealBed,
    binaries_or_skip,
    eventually,
)
from tests.support.volumes import a_claim, a_volume

pytestmark = pytest.mark.real

K8S = Path(__file__).parents[2] / "build" / "k8s"
INSTALL = K8S / "install.yaml"
OWN = "spotalis-system"
IN_OWN = {"leases", "configmaps", "secrets"}
"""What the operator's Role is about; the rest is the ClusterRole's."""
WITHOUT_NAMESPACE = {"nodes", "namespaces", "persistentvolumes", "mutatingwebhookconfigurations"}
DEADLINE = 120.0
_CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/spotalis"


@contextmanager
def _bed_without_rights(folder: Path) -> Iterator[RealBed]:
    nothing = folder / "nothing.yaml"
    nothing.write_text(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {OWN}}}\n")
    config = BedConfig(rbac=nothing)
    with RealBed.boot(folder / "bed", config, binaries=binaries_or_skip()) as bed:
        bed.add_nodes(spot=2, on_demand=3)
        yield bed


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBed]:
    """A cluster where nobody has been given any right yet."""
    with _bed_without_rights(tmp_path_factory.mktemp("install")) as bed:
        yield bed


@pytest.fixture(scope="module")
def installed(bed: RealBed) -> RealBed:
    """With install.yaml applied."""
    bed.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(INSTALL))
    bed.kubectl("apply", "-f", str(INSTALL))
    return bed


def test_what_is_applied_is_what_is_kept(installed: RealBed) -> None:
    """No default is left for the API server to fill in where tools would show a difference."""
    assert installed.kubectl("diff", "-f", str(INSTALL)) == ""
    kept = installed.request("GET", _CONFIGURATION)
    [webhook] = yaml.safe_load((K8S / "webhook.yaml").read_text())["webhooks"]
    assert kept["webhooks"] == [webhook]


def test_its_pods_are_let_in_by_the_restricted_profile_and_keep_off_spot(
    installed: RealBed,
) -> None:
    selector = "app.kubernetes.io/name=spotalis"
    pods = eventually(
        lambda: found if len(found := installed.ready_pods(OWN, selector)) == 2 else [],
        within=DEADLINE,
        what="both replicas are ready",
    )
    nodes = [pod["spec"]["nodeName"] for pod in pods]
    assert len(set(nodes)) == 2
    assert {name.rpartition("-")[0] for name in nodes} == {"on-demand"}
    free = _pod_without_security_context()
    with pytest.raises(Exception, match="violates PodSecurity"):
        installed.request("POST", f"/api/v1/namespaces/{OWN}/pods", free)


def test_kustomize_takes_it_as_a_base(installed: RealBed, tmp_path: Path) -> None:
    overlay = {
        "resources": [os.path.relpath(K8S, tmp_path)],
        "images": [{"name": "spotalis", "newName": "registry.example/spotalis", "newTag": "9"}],
        "replicas": [{"name": "spotalis", "count": 3}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    objects = list(yaml.safe_load_all(installed.kubectl("kustomize", str(tmp_path))))
    [deployment] = [one for one in objects if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/spotalis:9"
    assert deployment["spec"]["replicas"] == 3
    assert len(objects) == len(list(yaml.safe_load_all(INSTALL.read_text())))


@pytest.mark.parametrize("name", ["network-policy", "pdb-override"])
def test_an_optional_piece_is_taken(installed: RealBed, name: str) -> None:
    installed.kubectl("apply", "--dry-run=server", "-f", str(K8S / "optional" / f"{name}.yaml"))


def test_its_account_may_do_what_a_scenario_needs_and_has_no_right_in_vain(
    installed: RealBed, tmp_path: Path
) -> None:
    with _operator(installed, tmp_path):
        _play(installed)
    _apply_again_and_lose_nothing(installed)
    asked = [event for event in installed.audit(user="spotalis", stage=None) if event.resource]
    assert asked
    assert _refused(asked) == {}
    used = {
        ("own namespace" if e.resource in IN_OWN else "cluster",
         e.api_group or "core", e.kind, e.verb)
        for e in asked
    }  # fmt: skip
    assert used <= granted()
    assert in_every_run() - used == set()


def test_with_cert_manager_it_needs_neither_secrets_nor_webhook_configurations(
    installed: RealBed, tmp_path: Path
) -> None:
    """Without cert-manager's own kinds, which are not here: a test plays its part."""
    objects = list(yaml.safe_load_all((K8S / "install-cert-manager.yaml").read_text()))
    ours = [one for one in objects if not one["apiVersion"].startswith("cert-manager.io/")]
    installed.apply(ours)
    [leaf] = [one["spec"] for one in objects if one["metadata"]["name"] == "spotalis-webhook"
              and one["kind"] == "Certificate"]  # fmt: skip
    authority = trustme.CA()
    pair = authority.issue_cert(*leaf["dnsNames"], "127.0.0.1")
    (tmp_path / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    installed.add_nodes(spot=1)
    before = len(installed.audit(user="spotalis", stage=None))

    with _operator(installed, tmp_path, bundle=authority.cert_pem.bytes()):
        _create(installed, workload_body("Deployment", "shop", 4, Wishes(50)))
        _settled(installed, "shop", on_demand=2, spot=2)

    asked = installed.audit(user="spotalis", stage=None)[before:]
    assert _refused(asked) == {}
    assert not {"secrets", "mutatingwebhookconfigurations"} & {e.resource for e in asked}


def test_with_rights_in_one_namespace_it_splits_and_moves_there_and_asks_about_no_other(
    tmp_path: Path,
) -> None:
    with _bed_without_rights(tmp_path) as bed:
        bed.kubectl("create", "namespace", "shop")
        bed.kubectl("apply", "-f", str(K8S / "install-namespaced.yaml"))
        assert bed.kubectl("diff", "-f", str(K8S / "install-namespaced.yaml")) == ""
        further = ("apply", "--dry-run=server", "-f", str(K8S / "managed-namespace.yaml"))
        assert bed.kubectl("-n", "default", *further).count("created") == 2
        elsewhere = workload_body("Deployment", "elsewhere", 5, Wishes(100))
        _create(bed, elsewhere, "default")
        _settled(bed, "elsewhere", "default", on_demand=3, spot=2)  # as the scheduler spreads them
        before = {pod["metadata"]["uid"] for pod in bed.ready_pods("default")}
        with _operator(bed, tmp_path):
            _play(bed, "shop", before_spot_is_lost=lambda: _are(bed, "default", before))
            _create(bed, workload_body("Deployment", "later", 5, Wishes(100)), "default")
            _settled(bed, "later", "default", on_demand=5, spot=0)
        asked = [event for event in bed.audit(user="spotalis", stage=None) if event.resource]
        unplaced = [pod["metadata"] for pod in bed.ready_pods("default")]

    assert _refused(asked) == {}
    assert {event.namespace for event in asked if event.resource not in WITHOUT_NAMESPACE} == {
        "shop",
        OWN,
    }
    assert [m for m in unplaced if "spotalis.io/" in json.dumps(m)] == []
    used = {(e.api_group or "core", e.kind, e.verb) for e in asked}
    assert {right[1:] for right in in_every_run()} - used == set()


def _are(bed: RealBed, namespace: str, uids: set[str]) -> None:
    assert {pod["metadata"]["uid"] for pod in bed.ready_pods(namespace)} == uids


def _refused(asked: Sequence[AuditEvent]) -> Counter[tuple[str, str, int]]:
    return Counter((e.verb, e.kind, e.code) for e in asked if e.code in (401, 403))


def _apply_again_and_lose_nothing(bed: RealBed) -> None:
    """What the operator has filled in is not the manifests' to take away."""
    webhook = bed.request("GET", _CONFIGURATION)["webhooks"][0]
    [made] = yaml.safe_load((K8S / "webhook.yaml").read_text())["webhooks"]
    bundle = webhook["clientConfig"]["caBundle"]
    back = [{"op": "replace", "path": "/webhooks/0/clientConfig",
             "value": made["clientConfig"] | {"caBundle": bundle}}]  # fmt: skip
    bed.request("PATCH", _CONFIGURATION, back, content_type="application/json-patch+json")
    secret = f"/api/v1/namespaces/{OWN}/secrets/spotalis-webhook-tls"
    held = bed.request("GET", secret)["data"]
    assert {"tls.crt", "tls.key"} <= held.keys()
    bed.kubectl("apply", "-f", str(INSTALL))
    assert bed.request("GET", _CONFIGURATION)["webhooks"][0]["clientConfig"]["caBundle"] == bundle
    assert bed.request("GET", secret)["data"] == held


def _play(
    bed: RealBed,
    namespace: str = "default",
    *,
    before_spot_is_lost: Callable[[], None] = lambda: None,
) -> None:
    """Born right, changed, spot lost, fallen back: everything that a run ordinarily comes to."""
    wishes = Wishes(50, 1, {"spot-fallback": "2s", "max-moves-in-flight": "4"})
    _create(bed, workload_body("Deployment", "web", 6, wishes), namespace)
    _create_with_a_volume(bed, "db", namespace)
    _settled(bed, "web", namespace, on_demand=3, spot=3)
    _settled(bed, "db", namespace, on_demand=1, spot=1)
    assert bed.evictions("spotalis") == []

    _wish(bed, "web", namespace, {"spot-percentage": "0"})
    _settled(bed, "web", namespace, on_demand=6, spot=0)
    assert len(bed.evictions("spotalis")) == 3
    eventually(
        lambda: _condition(bed, "web", namespace) == "True", within=DEADLINE, what="Balanced"
    )

    _wish(bed, "web", namespace, {"spot-percentage": "50"})
    _settled(bed, "web", namespace, on_demand=3, spot=3)
    before_spot_is_lost()
    bed.remove_nodes("spot-1", "spot-2")
    _settled(bed, "web", namespace, on_demand=6, spot=0)
    _wish(bed, "web", namespace, {"spot-percentage": "0"})
    eventually(
        lambda: _condition(bed, "web", namespace) == "True",
        within=DEADLINE,
        what="Balanced without spot",
    )
    eventually(
        lambda: bed.audit(user="spotalis", verb="delete", kind="configmaps"),
        within=DEADLINE,
        what="a ledger with nothing to remember is deleted",
    )


def _create(bed: RealBed, body: Json, namespace: str = "default") -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/{body['kind'].lower()}s"
    bed.request("POST", path, body)


def _create_with_a_volume(bed: RealBed, name: str, namespace: str) -> None:
    """A StatefulSet of two that share a volume which every node reaches."""
    volume = f"{name}-of-{namespace}"
    bed.request("POST", "/api/v1/persistentvolumes", a_volume(volume, ""))
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    bed.request("POST", path, a_claim(name, volume))
    body = workload_body("StatefulSet", name, 2, Wishes(50))
    source = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    body["spec"]["template"]["spec"]["volumes"] = [source]
    _create(bed, body, namespace)


def _wish(bed: RealBed, name: str, namespace: str, wishes: dict[str, str]) -> None:
    annotations = {f"spotalis.io/{key}": value for key, value in wishes.items()}
    bed.request(
        "PATCH",
        f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
        {"metadata": {"annotations": annotations}},
        content_type="application/merge-patch+json",
    )


def _settled(
    bed: RealBed, name: str, namespace: str = "default", *, on_demand: int, spot: int
) -> None:
    wanted = {"on-demand": on_demand, "spot": spot}

    def split() -> bool:
        nodes = bed.request("GET", "/api/v1/nodes")["items"]
        classes = {
            n["metadata"]["name"]: n["metadata"]["labels"][CAPACITY_TYPE_LABEL] for n in nodes
        }
        pods = bed.ready_pods(namespace, f"app={name}")
        found = Counter(classes.get(pod["spec"]["nodeName"], "gone") for pod in pods)
        return {key: found[key] for key in wanted} == wanted and found.total() == on_demand + spot

    eventually(split, within=DEADLINE, what=f"{name} is {on_demand} + {spot}")


def _condition(bed: RealBed, name: str, namespace: str) -> str:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    status = bed.request("GET", path)["status"]
    found = [c for c in status.get("conditions", ()) if c["type"] == "spotalis.io/Balanced"]
    return str(found[0]["status"]) if found else ""


@contextmanager
def _operator(bed: RealBed, folder: Path, *, bundle: bytes = b"") -> Iterator[None]:
    """The container's own arguments, settings and variables; the account's own token.

    bundle:  whom to trust, if the operator does not write that itself; then ``folder`` stands in
             for the volume with the certificate.
    """
    ports = claim_ports()
    webhook, metrics, health = ports.ports[:3]
    client = {"url": f"https://127.0.0.1:{webhook}/mutate"}
    if bundle:
        client["caBundle"] = base64.b64encode(bundle).decode()
    put = [{"op": "replace", "path": "/webhooks/0/clientConfig", "value": client}]
    bed.request("PATCH", _CONFIGURATION, put, content_type="application/json-patch+json")
    deployment = bed.request("GET", f"/apis/apps/v1/namespaces/{OWN}/deployments/spotalis")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    settings = bed.request("GET", f"/api/v1/namespaces/{OWN}/configmaps/spotalis-settings")
    file = folder / "spotalis.yaml"
    file.write_text(settings["data"]["spotalis.yaml"].replace("/etc/spotalis-tls", str(folder)))
    downward = {"metadata.namespace": OWN, "status.podIP": "127.0.0.1"}
    variables = {
        one["name"]: downward[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container["env"]
    }
    command = [sys.executable, "-m", "spotalis", *container["args"]]
    command[command.index("/etc/spotalis/spotalis.yaml")] = str(file)
    command += ["--kubeconfig", str(_kubeconfig_of_the_account(bed, folder)), "--host", "127.0.0.1"]
    command += ["--webhook-port", str(webhook), "--metrics-port", str(metrics)]
    command += ["--health-port", str(health)]
    log = folder / "operator.log"
    inherited = {key: value for key, value in os.environ.items() if key == "PATH"}  # noqa: TID251  # a process needs it
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=inherited | variables)
    try:
        eventually(
            lambda: process.poll() is not None or _answers(f"http://127.0.0.1:{health}/readyz"),
            within=DEADLINE,
            what=f"the operator is ready (log: {log})",
        )
        assert process.poll() is None, log.read_text()
        eventually(
            lambda: bed.request("GET", _CONFIGURATION)["webhooks"][0]["clientConfig"].get(
                "caBundle"
            ),
            within=DEADLINE,
            what="caBundle is written",
        )
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ports.release()
    assert process.returncode == 0, log.read_text()[-2000:]


def _kubeconfig_of_the_account(bed: RealBed, folder: Path) -> Path:
    """With a token that the API server issued to the ServiceAccount, as a pod would get it."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    path = f"/api/v1/namespaces/{OWN}/serviceaccounts/spotalis/token"
    config = json.loads(bed.kubeconfig("spotalis").read_text())
    config["users"][0]["user"]["token"] = bed.request("POST", path, request)["status"]["token"]
    file = folder / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _pod_without_security_context() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "free"},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
    }
