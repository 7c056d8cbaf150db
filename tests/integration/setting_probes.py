"""Probes: what a setting changes about a running operator, as seen from outside.

A probe returns None while it cannot tell yet.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import ssl
import statistics
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from cryptography import x509

from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.pods import node_of
from spotalis.model.leadership import ADDRESS_ANNOTATION
from spotalis.model.nodes import NodeType
from spotalis.webhook.issuer_messages import BACKDATED
from tests.support.cluster import policy
from tests.support.operator_process import HOST, OperatorProcess
from tests.support.tls_pairs import a_pair

PROBE_SECONDS = 0.2

Probe: TypeAlias = Callable[[OperatorProcess], Awaitable[object]]


class CertificateInFiles:
    """A certificate with its key, for files."""

    def __init__(self) -> None:
        self.pair = a_pair()
        self.ca_pem = self.pair.authority.cert_pem.bytes()
        first = self.pair.cert_pem.decode().partition("-----END CERTIFICATE-----")
        self.der = ssl.PEM_cert_to_DER_cert(first[0] + first[1])


CERTIFICATE = CertificateInFiles()
UNKNOWN_CA = a_pair()


def count_evictions(*workloads: str) -> Probe:
    async def probe(it: OperatorProcess) -> object:
        return sum(it.evicted(name) for name in workloads)

    return probe


async def evicts_or_reason(it: OperatorProcess) -> object:
    """Whether pods of api are evicted; if not, the status reason of api."""
    return "evicts" if it.evicted("api") else await it.reason("api")


async def reason_after_first_move(it: OperatorProcess) -> object:
    """What happens to api after its first move has ended."""
    if it.evicted("api") > 1:
        return "moves again"
    return (it.evicted("api"), await it.reason("api"))


async def waits_or_falls_back(it: OperatorProcess) -> object:
    """What happens to the one of three large pods that fits on no spot node."""
    if "late" not in it.memory:
        if (await it.health("/readyz")).get("status") != "ready":
            return None
        it.memory["late"] = True
        await it.deploy("data", "late", 3, policy(100), cpu="3")
    if it.evicted("late"):
        return "falls back"
    return "waits" if it.unschedulable("late") else None


async def has_condition(it: OperatorProcess) -> object:
    """Whether the status of api has the condition, once api has been reconciled."""
    if await it.reason("api") is None:
        return None
    return "spotalis.io/Balanced" in it.conditions("shop", "api")


async def declares_storm(it: OperatorProcess) -> object:
    """Whether a storm is declared after the loss of 3 of 8 spot nodes, 3 s apart."""
    if (await it.health("/readyz")).get("status") != "ready":
        return None
    if "losing" not in it.memory:
        it.memory["losing"] = asyncio.create_task(_lose_three_of_eight(it))
    await asyncio.shield(it.memory["losing"])
    return any(name == "spotalis_storm_active" and value for name, _, value in await it.metrics())


async def _lose_three_of_eight(it: OperatorProcess) -> None:
    spot = await it.cluster.fleet.add(spot=6)
    await asyncio.sleep(0.5)
    for name in spot[:3]:
        await it.cluster.fleet.reclaim(name)
        await asyncio.sleep(3)  # a process that is paused meanwhile sees shorter intervals


async def stays_off_unstable_spot(it: OperatorProcess) -> object:
    """Whether a workload stays off spot for 15 s after its spot replica was lost twice in a row."""
    if (await it.health("/readyz")).get("status") != "ready":
        return None
    if "losing" not in it.memory:
        it.memory["losing"] = asyncio.create_task(_lose_a_replica_twice(it))
    return await asyncio.shield(it.memory["losing"])


async def _lose_a_replica_twice(it: OperatorProcess) -> bool:
    fleet = it.cluster.fleet
    for name in fleet.names(NodeType.SPOT):
        await fleet.cordon(name)
    [node] = await fleet.add(spot=1)
    await it.deploy("data", "late", 2, policy(50, 1), cpu="100m")
    for _ in range(2):
        while _spot_node_of(it, "late") != node:
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # creationTimestamp has whole seconds
        await fleet.announce_reclaim(node)
        await asyncio.sleep(2)
        await fleet.reclaim(node)
        while _spot_node_of(it, "late") == node:
            await asyncio.sleep(0.2)
        [node] = await fleet.add(spot=1)
    for _ in range(75):
        await asyncio.sleep(0.2)
        if _spot_node_of(it, "late"):
            return False
    return True


def _spot_node_of(it: OperatorProcess, workload: str) -> str:
    """The spot node of a Ready pod of a workload; empty if there is none."""
    spot = set(it.cluster.fleet.names(NodeType.SPOT))
    for pod in it.cluster.store.list("pods", "data"):
        is_ready = (condition(pod, "Ready") or {}).get("status") == "True"
        if pod["metadata"]["name"].startswith(workload) and is_ready and node_of(pod) in spot:
            return node_of(pod)
    return ""


async def evicts_on_notice(it: OperatorProcess) -> object:
    """Whether spot pods of api are evicted on the interruption notices of their nodes."""
    if "before" not in it.memory:
        if await it.reason("api") != "Balanced":
            return None
        it.memory["before"] = it.evicted("api")
        for name in it.cluster.fleet.names(NodeType.SPOT):
            await it.cluster.fleet.announce_reclaim(name)
        await asyncio.sleep(1.5)
    return it.evicted("api") > it.memory["before"]


async def deletes_or_waits_for_budget(it: OperatorProcess) -> object:
    """What happens to a replica that must move, under a budget that allows no disruption."""
    if "late" not in it.memory:
        if (await it.health("/readyz")).get("status") != "ready":
            return None
        it.memory["late"] = True
        owner = policy(0, pdb_override="true")
        await it.deploy("data", "late", 2, owner, cpu="100m")
        await it.budget("data", "late", 2)
    if "moves" not in it.memory and await it.reason("late") == "Balanced":
        it.memory["moves"] = True
        await it.wish("data", "late", "spot-percentage", "100")
        return None
    if any(entry.name.startswith("late-") for entry in it.asked("delete", "pods")):
        return "deletes"
    return "waits" if await it.reason("late") == "BlockedByPDB" else None


async def managed_namespaces(it: OperatorProcess) -> object:
    return {
        labels["namespace"]
        for name, labels, value in await it.metrics()
        if name == "spotalis_managed_workloads" and value
    }


def count_replicas(workload: str, state: str) -> Probe:
    async def probe(it: OperatorProcess) -> object:
        return await it.replicas(workload, state)

    return probe


async def tolerations_of_new_pod(it: OperatorProcess) -> object:
    patch = await it.review("api")
    keys = set()
    for step in patch:
        if step["path"].startswith("/spec/tolerations"):
            value = step["value"]
            keys |= {one["key"] for one in (value if isinstance(value, list) else [value])}
    return keys if patch else None


async def reconciles_without_change(it: OperatorProcess) -> object:
    """Whether a workload is reconciled within 8 s, after 2 s without a reconcile."""
    if "reconciled" not in it.memory:
        if await it.reason("api") is None:
            return None
        before = await _count_reconciles(it)
        await asyncio.sleep(2)
        if await _count_reconciles(it) != before:
            return None
        await asyncio.sleep(8)
        it.memory["reconciled"] = await _count_reconciles(it) != before
    return it.memory["reconciled"]


async def _count_reconciles(it: OperatorProcess) -> float:
    counts = await it.metrics()
    return sum(value for name, _, value in counts if name == "spotalis_reconciliations_total")


async def created_leases(it: OperatorProcess) -> object:
    return {(entry.namespace, entry.name) for entry in it.asked("create", "leases")}


def lease_field(key: str) -> Probe:
    async def probe(it: OperatorProcess) -> object:
        return it.lease().get(key)

    return probe


async def has_identity_me(it: OperatorProcess) -> object:
    """Whether the Lease names it; the identity ends with a suffix of the process."""
    holder = it.lease().get("holderIdentity")
    return holder.partition("_")[0] == "me" if holder else None


async def leader_election_in_readyz(it: OperatorProcess) -> object:
    return (await it.health("/readyz")).get("leader_election")


async def leads_without_renewal(it: OperatorProcess) -> object:
    """Whether it still leads 4 s after the Lease was taken away."""
    if "led" not in it.memory:
        if not (await it.health("/healthz")).get("leader"):
            return None
        await it.take_lease_away()
        while it.lease():
            await asyncio.sleep(PROBE_SECONDS)
        await asyncio.sleep(4)
        it.memory["led"] = (await it.health("/healthz")).get("leader")
    return it.memory["led"]


async def renews_often(it: OperatorProcess) -> object:
    """Whether the median interval of at least five renewals is below 1.5 s."""
    at = [entry.at for entry in it.asked("update", "leases")]
    if len(at) < 5:
        return None
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(at)]
    return statistics.median(gaps) < 1.5


async def spreads_first_requests(it: OperatorProcess) -> object:
    """Whether the median interval between the starts of its seven watches exceeds 0.5 s."""
    kinds = (
        *("namespaces", "nodes", "deployments", "statefulsets", "replicasets"),
        *("poddisruptionbudgets", "pods"),
    )
    begun = [[*it.asked("watch", kind), *it.asked("list", kind)] for kind in kinds]
    if not all(begun):
        return None
    first = sorted(min(entry.at for entry in entries) for entries in begun)
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(first)]
    return statistics.median(gaps) > 0.5


async def listening_hosts(it: OperatorProcess) -> object:
    port = it.ports[2]
    return {host for host in (HOST, "127.0.0.2") if await it.get(port, "/healthz", host)}


def listening_ports(number: int) -> Probe:
    """On which of its usual port and the fourth port it listens."""

    async def probe(it: OperatorProcess) -> object:
        found = set()
        for name, port in (("usual", it.ports[number]), ("other", it.ports[3])):
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                continue
            found.add(name)
            writer.close()
        return found

    return probe


async def address_in_lease(it: OperatorProcess) -> object:
    lease = it.cluster.store.get("leases", "spotalis-system", "spotalis")
    said = ((lease or {}).get("metadata", {}).get("annotations") or {}).get(ADDRESS_ANNOTATION, "")
    return said.rpartition(":")[0] or None


async def status_without_client_certificate(it: OperatorProcess) -> object:
    """The HTTP status of an invalid request: 400, unless its sender is rejected first."""
    return await it.status_of_nonsense()


async def accepts_unknown_ca(it: OperatorProcess) -> object:
    """Whether a client certificate of an unknown CA is accepted."""
    if not await it.certificate():
        return None
    return await it.status_of_nonsense(UNKNOWN_CA.cert_pem + UNKNOWN_CA.key_pem) == 400


async def certificate_lifetime(it: OperatorProcess) -> object:
    shown = await it.certificate()
    return _lifetime(ssl.DER_cert_to_PEM_cert(shown).encode()) if shown else None


async def ca_lifetime(it: OperatorProcess) -> object:
    secret = it.cluster.store.get("secrets", "spotalis-system", "spotalis-webhook-tls") or {}
    bundle = base64.b64decode((secret.get("data") or {}).get("ca.crt", ""))
    return _lifetime(bundle) if bundle else None


def _lifetime(cert_pem: bytes) -> timedelta:
    certificate = x509.load_pem_x509_certificate(cert_pem)
    valid_for = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return valid_for - BACKDATED


async def written_secrets(it: OperatorProcess) -> object:
    return {one["metadata"]["name"] for one in it.cluster.store.list("secrets") if one.get("data")}


async def serves_certificate_from_file(it: OperatorProcess) -> object:
    shown = await it.certificate()
    return (shown == CERTIFICATE.der) if shown else None


async def names_in_certificate(it: OperatorProcess) -> object:
    shown = await it.certificate()
    names = (b"spotalis-webhook.spotalis-system.svc", b"hook.spotalis-system.svc")
    # DER contains a name as it is, preceded by its length.
    return {name.decode() for name in names if bytes([len(name)]) + name in shown}


async def configurations_with_ca_bundle(it: OperatorProcess) -> object:
    return {
        one["metadata"]["name"]
        for one in it.cluster.store.list("mutatingwebhookconfigurations")
        if one["webhooks"][0]["clientConfig"].get("caBundle")
    }


async def loggers_at_debug(it: OperatorProcess) -> object:
    """The loggers that log at level debug after a connection without TLS."""
    try:
        _, writer = await asyncio.open_connection(HOST, it.ports[0])
    except OSError:
        return None
    writer.write(b"hello")
    writer.close()
    return {line["logger"] for line in it.log_lines() if line["level"] == "debug"}


async def logs_are_json(it: OperatorProcess) -> object:
    text = it.log_text()
    return text.startswith("{") if "Synced caches" in text else None
