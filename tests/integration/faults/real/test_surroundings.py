"""The webhook and placement on the real control plane (docs/contributing/faults.md: 38, 45, 49)."""

from __future__ import annotations

import asyncio
import base64
import json
import random  # noqa: TID251  # jitter
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
import yaml
from aiohttp import web

from spotalis.app.clock import SystemClock
from spotalis.kube.client import Client
from spotalis.kube.config.access import load
from spotalis.kube.http import HttpTransport
from spotalis.model.decision import Reason
from spotalis.model.transport import Response
from spotalis.webhook.certificate_rotation import CertificateRotator, RotationSettings
from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.handler import Handler, HandlerResponse
from spotalis.webhook.pem import split_bundle
from spotalis.webhook.rotation_plan import Lifetimes
from spotalis.webhook.server import WebhookServer
from tests.integration.faults.real.cluster import SPOT, FaultTestCluster, is_bundle_write
from tests.support import manifests
from tests.support.control_plane import ControlPlane, Json, eventually
from tests.support.fault_proxy import Call, always, fault_proxy
from tests.support.free_ports import claim_ports
from tests.support.operator_replicas import FAILED_OPEN
from tests.support.real_cluster import WEBHOOK

pytestmark = pytest.mark.real

NODES = "/api/v1/nodes"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


async def test_row_38_after_three_replacements_on_the_type_that_was_left_moves_stop(
    cluster: FaultTestCluster,
) -> None:
    process = await cluster.start()
    await cluster.set_up(moves=1)
    await asyncio.to_thread(taint, cluster.plane, [{"key": "other-team", "effect": "NoSchedule"}])
    try:
        await cluster.api.raw("DELETE", f"{CONFIGURATIONS}/{cluster.home}")
        await cluster.set_spot_percentage(SPOT)
        await cluster.wait_for_reason(process, Reason.FUTILE, within=120)
        await cluster.wait_for_split("web", 5, 0)
        await cluster.assert_quiet(8)
        assert len(cluster.evictions()) == 3
    finally:
        await asyncio.to_thread(taint, cluster.plane, [])


def taint(control_plane: ControlPlane, taints: list[Json]) -> None:
    """Set the taints of all spot nodes."""
    for node in control_plane.request("GET", NODES)["items"]:
        name = node["metadata"]["name"]
        if name.startswith("spot"):
            body = {"spec": {"taints": taints}}
            merge = "application/merge-patch+json"
            control_plane.request("PATCH", f"{NODES}/{name}", body, content_type=merge)


# Row 45.


def a_pod(name: str, owner: str = "", *, controller: bool = True) -> Json:
    kind = {"apiVersion": "apps/v1", "kind": owner, "name": "owner", "uid": "owner-uid"}
    owned = {"ownerReferences": [{**kind, "controller": controller}]}
    return manifests.pod(name, metadata=owned if owner else {})


def pods_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods?dryRun=All"


SENT = (
    (pods_of("default"), a_pod("of-a-replica-set", "ReplicaSet")),
    (pods_of("default"), a_pod("of-a-stateful-set", "StatefulSet")),
)
NOT_SENT = (
    (pods_of("kube-system"), a_pod("in-kube-system", "ReplicaSet")),
    (pods_of("spotalis-system"), a_pod("in-the-operators-namespace", "ReplicaSet")),
    (pods_of("default"), a_pod("without-owner")),
    (pods_of("default"), a_pod("of-a-job", "Job")),
    (pods_of("default"), a_pod("of-a-daemon-set", "DaemonSet")),
    (pods_of("default"), a_pod("of-no-controller", "ReplicaSet", controller=False)),
    (
        "/api/v1/namespaces/default/configmaps?dryRun=All",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a-config-map"}},
    ),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}},
        },
    ),
)


@asynccontextmanager
async def unresponsive_webhook(port: int, authority: trustme.CA) -> AsyncIterator[None]:
    """A webhook that accepts requests and never responds."""

    async def accept(request: web.BaseRequest) -> web.Response:
        await request.read()
        await asyncio.sleep(60)
        raise AssertionError("no client waits for 60 s")

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    runner = web.ServerRunner(web.Server(accept), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("listens", [False, True], ids=["down", "unresponsive"])
async def test_row_45_only_pods_of_replica_sets_and_stateful_sets_are_sent_to_the_webhook(
    control_plane: ControlPlane, listens: bool
) -> None:
    authority, claim = trustme.CA(), claim_ports()
    try:
        async with AsyncExitStack() as stack:
            if listens:
                await stack.enter_async_context(unresponsive_webhook(claim.ports[0], authority))
            await asyncio.to_thread(create_all_kinds, control_plane, claim.ports[0], authority)
    finally:
        claim.release()
        control_plane.request("DELETE", f"{CONFIGURATIONS}/spotalis")


def create_all_kinds(control_plane: ControlPlane, port: int, authority: trustme.CA) -> None:
    configuration = yaml.safe_load(WEBHOOK.read_text())
    for entry in configuration["webhooks"]:
        trusted = base64.b64encode(authority.cert_pem.bytes()).decode()
        url = f"https://127.0.0.1:{port}/mutate"
        entry["clientConfig"] = {"url": url, "caBundle": trusted}
    control_plane.apply([configuration])
    begun = len(control_plane.audit())

    def failed_open() -> set[str]:
        return {
            event.name or event.kind
            for event in control_plane.audit()[begun:]
            if any(key.startswith(FAILED_OPEN) for key in event.annotations)
        }

    def is_active() -> bool:
        control_plane.request("POST", pods_of("default"), a_pod("probe", "ReplicaSet"))
        return failed_open() == {"probe"}

    eventually(is_active, within=30, what="the webhook is called")
    for path, body in (*NOT_SENT, *SENT):
        control_plane.request("POST", path, body)
    assert failed_open() == {"probe", "of-a-replica-set", "of-a-stateful-set"}


# Row 49.

LIFETIMES = Lifetimes(
    certificate=timedelta(seconds=75),
    authority=timedelta(seconds=180),
    settling=timedelta(seconds=1),
    renewal=2 / 45,
)
"""Shorter than those of a process, so rotator and server run inside the test. Certificates are
renewed after 3.3 s and authorities after 8 s. They are valid for much longer, because a change of
authority takes two child processes and the delay below, each of them longer on a busy machine."""


async def late(call: Call) -> Response:
    """Delay the new CA bundle by a second."""
    await asyncio.sleep(1)
    return await call.forward()


async def test_row_49_with_a_delayed_ca_bundle_no_admission_request_fails(
    cluster: FaultTestCluster, tmp_path: Path
) -> None:
    received: list[str] = []

    async def review(body: bytes) -> HandlerResponse:
        request = json.loads(body)
        received.append(request["request"]["name"])
        response = {"uid": request["request"]["uid"], "allowed": True}
        keys = ("apiVersion", "kind")
        document = {**{key: request[key] for key in keys}, "response": response}
        return HandlerResponse(json.dumps(document).encode())

    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(
            fault_proxy(cluster.plane.server, cluster.plane.ca_file)
        )
        proxy.order = always(is_bundle_write, late)
        kubeconfig = proxy.write_kubeconfig(
            cluster.plane.kubeconfig("spotalis"), tmp_path / "config"
        )
        for number in range(2):
            await serve(cluster, stack, kubeconfig, number, review)
        begun = len(cluster.plane.audit())

        async def is_active() -> bool:
            await create(cluster, "probe")
            return "probe" in received

        await cluster.wait_until(is_active, "the webhook is called", within=30)
        authorities: set[bytes] = set()
        created = 0
        async with asyncio.timeout(120):
            while len(authorities) < 3:
                created += 1
                await create(cluster, f"pod-{created}")
                cluster.cut_webhook_connections()  # a new connection verifies the certificate
                # This request may use a broken connection and fail.
                await create(cluster, f"cut-{created}")
                authorities.update(await trusted(cluster))
    missed = [
        event.name
        for event in cluster.plane.audit()[begun:]
        if event.name.startswith("pod-")
        and any(key.startswith(FAILED_OPEN) for key in event.annotations)
    ]
    log = cluster.plane.log("kube-apiserver").read_text().splitlines()
    errors = [line for line in log if "failing open" in line and "x509" in line]
    print(
        f"{created} requests, {len(authorities)} authorities, missed: {missed}",
        *errors[-5:],
        sep="\n",
    )
    assert missed == []
    assert {name for name in received if name.startswith("pod-")} == {
        f"pod-{number}" for number in range(1, created + 1)
    }


async def create(cluster: FaultTestCluster, name: str) -> None:
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    answer = await cluster.api.raw("POST", path, a_pod(name, "ReplicaSet"), (("dryRun", "All"),))
    assert answer.status == 201, answer.body


async def trusted(cluster: FaultTestCluster) -> list[bytes]:
    """The certificate authorities that the API server trusts now."""
    answer = await cluster.api.raw("GET", f"{CONFIGURATIONS}/{cluster.home}")
    bundle = json.loads(answer.body)["webhooks"][0]["clientConfig"].get("caBundle", "")
    return split_bundle(base64.b64decode(bundle))


async def serve(
    cluster: FaultTestCluster, stack: AsyncExitStack, kubeconfig: Path, number: int, review: Handler
) -> None:
    """Start a webhook server and its certificate rotator, as in an instance of the operator."""
    clock, rng = SystemClock(), random.Random(number)
    transport = HttpTransport(load({}, kubeconfig=str(kubeconfig)), clock=clock)
    stack.push_async_callback(transport.close)
    name = "spotalis-webhook.home.svc"
    rotator = CertificateRotator(
        Client(transport, clock=clock, rng=rng),
        RotationSettings(
            namespace=cluster.home,
            secret="spotalis-webhook-tls",
            configuration=cluster.home,
            dns_names=(name,),
            ip_addresses=("127.0.0.1",),
            lifetimes=LIFETIMES,
        ),
        clock=clock,
        rng=rng,
    )
    shown = await rotator.obtain()
    server = WebhookServer(
        review,
        clock=clock,
        forward_handler=review,
        client_auth=ClientAuth(peer_name=name),
    )
    port = await server.start("127.0.0.1", 0, shown)
    stack.push_async_callback(server.stop, 1)
    cluster.add_webhook(port)
    running = asyncio.create_task(rotator.run())

    async def end() -> None:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    stack.push_async_callback(end)
