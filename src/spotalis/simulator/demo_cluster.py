"""The cluster of the demo: the embedded cluster, and the real operator with its webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from spotalis.app.build import build_operator
from spotalis.app.operator import Operator
from spotalis.controller.cluster import WorkloadKey
from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.controllers.kubelet import KubeletTiming
from spotalis.embedded.http import HttpsWebhookCaller, serve
from spotalis.kube.client import Client
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.http import HttpTransport
from spotalis.model.controller_configuration import ControllerConfiguration, LeaderElection
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock, Random
from spotalis.webhook.issuer import issue_certificate
from spotalis.webhook.issuer_messages import IssueRequest
from spotalis.webhook.server import MUTATE_PATH, WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from spotalis.webhook.webhook_configuration import inject_ca_bundle, webhook_configuration

WEBHOOK_CONFIGURATION = "spotalis"
HOST = "127.0.0.1"
CONFIGURATION = ControllerConfiguration(
    identity="demo", leader_election=LeaderElection(enabled=False)
)
FAST_TIMING = Timing(
    kubelet=KubeletTiming(start=timedelta(seconds=0.8), stop=timedelta(seconds=0.8))
)
"""Keeps the demo short; a real kubelet takes a few seconds longer."""


@dataclass(frozen=True, kw_only=True)
class DemoCluster:
    """What the demo script observes and changes: the cloud provider, the API and the operator."""

    embedded: EmbeddedCluster
    operator: Operator
    admin: Client
    clock: Clock
    url: str
    """Of the embedded API server."""
    kubeconfig: str
    """For kubectl."""

    def reason(self, namespace: str, name: str) -> Reason | None:
        """The operator's status reason of a Deployment; None before its first reconcile."""
        result = self.operator.results.get(WorkloadKey("Deployment", namespace, name))
        return result.reason if result else None


@asynccontextmanager
async def demo_cluster(
    *, clock: Clock, rng: Random, spot: int, on_demand: int
) -> AsyncIterator[DemoCluster]:
    """Start an embedded cluster with nodes, and the operator against it; yield once it is ready.

    Args:
        clock: real time; the HTTP servers do not support virtual time.
        rng: decides generated names and ties.
        spot, on_demand: the number of initial nodes, with 4 CPUs each.
    """
    caller = HttpsWebhookCaller()
    cluster = EmbeddedCluster(clock=clock, rng=rng, timing=FAST_TIMING, webhook=caller)
    async with cluster:
        await cluster.api.create("namespaces", {"metadata": {"name": CONFIGURATION.namespace}})
        served = await serve(cluster.api, HOST, 0)
        await cluster.fleet.add(spot=spot, on_demand=on_demand)
        transport = HttpTransport(ClusterAccess(server=served.url), clock=clock)
        operator = build_operator(transport, settings=CONFIGURATION, clock=clock, rng=rng)
        admin_transport = HttpTransport(ClusterAccess(server=served.url), clock=clock)
        admin = Client(admin_transport, clock=clock, rng=rng)
        running = asyncio.create_task(operator.run())
        webhook = await _open_webhook(cluster, operator, clock)
        try:
            await operator.synced.wait()
            yield DemoCluster(
                embedded=cluster,
                operator=operator,
                admin=admin,
                clock=clock,
                url=served.url,
                kubeconfig=served.kubeconfig_text,
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await webhook.stop(1.0)
            await transport.close()
            await admin_transport.close()
            await caller.close()
            await served.stop()


async def _open_webhook(
    cluster: EmbeddedCluster, operator: Operator, clock: Clock
) -> WebhookServer:
    """Serve the webhook over TLS and register it, as an installation does."""
    issued = await issue_certificate(
        IssueRequest(
            dns_names=("localhost",),
            ip_addresses=(HOST,),
            valid_for=timedelta(days=1),
            ca_valid_for=timedelta(days=1),
            now=clock.now(),
        )
    )
    webhook = WebhookServer(operator.admission.handle, clock=clock)
    port = await webhook.start(HOST, 0, ServingCertificate(issued.key_pair))
    registered = webhook_configuration(
        name=WEBHOOK_CONFIGURATION,
        client_config={"url": f"https://{HOST}:{port}{MUTATE_PATH}"},
        excluded=sorted(operator.cluster.settings.namespaces.excluded),
    )
    await cluster.api.create("mutatingwebhookconfigurations", registered)
    await inject_ca_bundle(operator.client, WEBHOOK_CONFIGURATION, issued.ca_pem)
    return webhook
