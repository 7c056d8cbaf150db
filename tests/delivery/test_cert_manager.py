"""The installation with cert-manager, beside the real one: its controllers and its CA injector.

The operator runs as a process, as in test_install.py, so the certificate is also for its address.
The test writes the Secret's data into a folder, as a kubelet does.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.manifests import K8S
from testbed.programs import CERT_MANAGER
from tests.delivery.installed_operator import (
    CONFIGURATION,
    OPERATOR_NAMESPACE,
    installed_operator,
    wait_for_split,
)
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import (
    WITHOUT_PERMISSIONS,
    ControlPlane,
    Json,
    binaries_or_skip,
    eventually,
)
from tests.support.side_program import running_beside

pytestmark = pytest.mark.real

NAMESPACED = f"namespaces/{OPERATOR_NAMESPACE}"
CERTIFICATE = f"/apis/cert-manager.io/v1/{NAMESPACED}/certificates/spotalis-webhook"
SECRET = f"/api/v1/{NAMESPACED}/secrets/spotalis-webhook-tls"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A cluster with cert-manager and the manifests of Spotalis."""
    with ControlPlane.boot(
        tmp_path / "plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as plane:
        kubeconfig = plane.kubeconfig("cert-manager")
        async with running_beside(
            plane, CERT_MANAGER, user="cert-manager", ready_path="/healthz",
            arguments=[f"--kubeconfig={kubeconfig}", "--health-port={health}"],
        ):  # fmt: skip
            plane.kubectl("apply", "-f", str(K8S / "install-cert-manager.yaml"))
            addresses = {"spec": {"ipAddresses": ["127.0.0.1"]}}
            plane.request("PATCH", CERTIFICATE, addresses, content_type=MERGE)
            plane.add_nodes(spot=2, on_demand=3)
            yield plane


async def test_cert_manager_issues_injects_and_renews_the_certificate(
    plane: ControlPlane, tmp_path: Path
) -> None:
    eventually(lambda: is_ready(plane), within=60, what="the certificate is issued")
    injected = eventually(lambda: ca_bundle(plane), within=60, what="caBundle is injected")
    first = write_secret(plane, tmp_path)
    assert injected == first["ca.crt"]

    # Without a bundle: the block begins when cert-manager has injected its own again.
    with installed_operator(plane, tmp_path):
        eventually(lambda: ca_bundle(plane) == first["ca.crt"], within=60, what="the CA is trusted")
        deploy(plane, "before")
        wait_for_split(plane, "before", on_demand=2, spot=2)

        renew(plane)
        eventually(
            lambda: secret(plane)["tls.crt"] != first["tls.crt"] and is_ready(plane),
            within=60, what="the certificate is renewed",
        )  # fmt: skip
        second = write_secret(plane, tmp_path)
        eventually(
            lambda: shown(plane) in base64.b64decode(second["tls.crt"]).decode(),
            within=120, what="the webhook shows the new certificate",
        )  # fmt: skip
        assert ca_bundle(plane) == second["ca.crt"] == first["ca.crt"]
        deploy(plane, "after")
        wait_for_split(plane, "after", on_demand=2, spot=2)
    requests = plane.audit(user="spotalis", stage=None)
    assert [e for e in requests if e.code == 403] == []
    assert not {"secrets", "mutatingwebhookconfigurations"} & {e.resource for e in requests}
    assert plane.evictions("spotalis") == []


def deploy(plane: ControlPlane, name: str) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    plane.request("POST", path, workload_body("Deployment", name, 4, policy(50)))


def is_ready(plane: ControlPlane) -> bool:
    """Whether the newest specification has been issued; it contains the process's address."""
    certificate = plane.request("GET", CERTIFICATE)
    conditions = {
        each["type"]: each for each in certificate.get("status", {}).get("conditions", [])
    }
    ready = conditions.get("Ready", {})
    return bool(
        ready.get("status") == "True"
        and ready.get("observedGeneration") == certificate["metadata"]["generation"]
        and conditions.get("Issuing", {}).get("status") != "True"
    )


def renew(plane: ControlPlane) -> None:
    """Ask for a new certificate, as `cmctl renew` does."""
    certificate = plane.request("GET", CERTIFICATE)
    certificate["status"]["conditions"].append(
        {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "test",
         "lastTransitionTime": certificate["status"]["notBefore"]}
    )  # fmt: skip
    plane.request("PUT", f"{CERTIFICATE}/status", certificate)


def secret(plane: ControlPlane) -> dict[str, str]:
    found: dict[str, str] = plane.request("GET", SECRET)["data"]
    return found


def write_secret(plane: ControlPlane, folder: Path) -> dict[str, str]:
    """Write the Secret into the folder that replaces its volume; returns its data."""
    data = secret(plane)
    for name, value in data.items():
        (folder / name).write_bytes(base64.b64decode(value))
    return data


def client(plane: ControlPlane) -> Json:
    found: Json = plane.request("GET", CONFIGURATION)["webhooks"][0]["clientConfig"]
    return found


def ca_bundle(plane: ControlPlane) -> str:
    return str(client(plane).get("caBundle", ""))


def shown(plane: ControlPlane) -> str:
    """The certificate that the webhook shows, PEM."""
    port = urlsplit(client(plane)["url"]).port
    assert port
    return ssl.get_server_certificate(("127.0.0.1", port)).strip()
