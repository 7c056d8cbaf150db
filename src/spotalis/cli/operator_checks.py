"""The checks of an installed operator: its instances, the leader, the certificate, the webhook."""

from __future__ import annotations

import ssl
from typing import Any

import msgspec

from spotalis.cli.output import duration
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.rescue import absence
from spotalis.kube.client import Client
from spotalis.kube.resources import (
    DEPLOYMENTS,
    LEASES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    WEBHOOK_CONFIGURATIONS,
)
from spotalis.kube.tls import client_context
from spotalis.model.configuration import POD_DECISION
from spotalis.model.transport import Response, TransportError

NAME = "spotalis"
"""The name of the Deployment, the Lease and the webhook configuration in the manifests."""
_LONGEST_SILENCE_SECONDS = 60.0
_INSTALL = "kubectl apply -f build/k8s/install.yaml"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    name: str
    state: str
    """``ok``, ``warning``, ``failed``, or ``unknown`` if it could not be carried out."""
    message: str
    fix: str = ""


async def get(client: Client, path: str) -> tuple[int, dict[str, Any]]:
    """Status and object of a GET request; the object is empty unless the request succeeded."""
    response = await client.raw("GET", path)
    return response.status, object_of(response)


class OperatorChecks:
    """Checks the operator of one cluster."""

    def __init__(self, cluster: Cluster, client: Client, namespace: str) -> None:
        """``namespace`` is the operator's."""
        self._cluster = cluster
        self._client = client
        self._namespace = namespace

    async def run(self) -> list[Check]:
        """All checks."""
        return [
            await self._operator(),
            await self._leader(),
            await self._certificate(),
            await self._webhook(),
        ]

    async def _operator(self) -> Check:
        status, found = await get(self._client, DEPLOYMENTS.path(self._namespace, NAME))
        if status != 200:
            return unread("operator", status, f"deployment {self._namespace}/{NAME}", _INSTALL)
        wanted = found.get("spec", {}).get("replicas", 1)
        ready = found.get("status", {}).get("readyReplicas", 0)
        message = f"{ready} of {wanted} instances are Ready"
        if ready == 0:
            logs = f"kubectl -n {self._namespace} logs deployment/{NAME}"
            return Check(name="operator", state="failed", message=message, fix=logs)
        return Check(name="operator", state="ok" if ready >= wanted else "warning", message=message)

    async def _leader(self) -> Check:
        election = self._cluster.settings.leader_election
        if not election.enabled:
            return Check(name="leader", state="ok", message="leader election is disabled")
        name = election.lease_name
        response = await self._client.raw("GET", LEASES.path(self._namespace, name))
        if response.status != 200:
            return unread("leader", response.status, f"lease {self._namespace}/{name}", _INSTALL)
        lease = LEASES.decode(response.body)
        silent = absence(lease, self._client.clock.now())
        if not lease.holder or silent is None:
            return Check(
                name="leader",
                state="failed",
                message="no instance leads: nothing moves",
                fix=f"kubectl -n {self._namespace} get pods",
            )
        seconds = silent.total_seconds()
        message = f"{lease.holder}, renewed {duration(seconds)} ago"
        state = "ok" if seconds < _LONGEST_SILENCE_SECONDS else "failed"
        return Check(name="leader", state=state, message=message)

    async def _certificate(self) -> Check:
        response = await self._client.raw("GET", WEBHOOK_CONFIGURATIONS.path(name=NAME))
        if response.status != 200:
            what = f"mutatingwebhookconfiguration/{NAME}"
            return unread("certificate", response.status, what, _INSTALL)
        found = WEBHOOK_CONFIGURATIONS.decode(response.body)
        bundles = [bundle for _, bundle in found.ca_bundles if bundle]
        if not bundles:
            return Check(
                name="certificate",
                state="failed",
                message="caBundle is empty: the API server cannot call the webhook",
                fix="the operator writes it within a minute; see its log otherwise",
            )
        expires_at = _expiry(bundles[0])
        if expires_at is None:
            return Check(
                name="certificate",
                state="failed",
                message="caBundle contains no certificate of an authority",
                fix="the operator replaces it within a minute; see its log otherwise",
            )
        left = expires_at - self._client.clock.now().timestamp()
        message = f"the authority in caBundle is valid for {duration(left)}"
        return Check(name="certificate", state="ok" if left > 0 else "failed", message=message)

    async def _webhook(self) -> Check:
        """Create a pod of a managed workload by a dry run, which calls the webhook."""
        for key in sorted(self._cluster.managed_keys()):
            body = await self._next_pod(key)
            if body is None:
                continue
            started = self._client.clock.monotonic()
            try:
                response = await self._client.raw(
                    "POST", PODS.path(key.namespace), body, [("dryRun", "All")]
                )
            except TransportError as error:
                return Check(name="webhook", state="unknown", message=str(error))
            milliseconds = (self._client.clock.monotonic() - started) * 1000
            return _webhook_check(key, response, milliseconds)
        return Check(
            name="webhook", state="unknown", message="no workload has opted in, so it is not tried"
        )

    async def _next_pod(self, key: WorkloadKey) -> dict[str, Any] | None:
        """The next pod of a workload, as its controller would create it."""
        workload = self._cluster.find_workload(key)
        if workload is None:
            return None
        owner_kind, name, uid = STATEFULSETS.kind, key.name, workload.uid
        path = STATEFULSETS.path(key.namespace, name)
        if key.kind != "StatefulSet":
            sets = self._cluster.replica_sets_of(workload).values()
            if not sets:
                return None
            newest = max(sets, key=lambda replica_set: replica_set.replicas)
            owner_kind, name, uid = REPLICASETS.kind, newest.name, newest.uid
            path = REPLICASETS.path(key.namespace, name)
        _, controller = await get(self._client, path)
        template = controller.get("spec", {}).get("template")
        if not isinstance(template, dict):
            return None
        owner = {
            "apiVersion": "apps/v1",
            "kind": owner_kind,
            "name": name,
            "uid": uid,
            "controller": True,
        }
        metadata = {**template.get("metadata", {}), "ownerReferences": [owner]}
        # An ordinal that does not exist: the names of pods are unique.
        metadata["name"] = f"{name}-{workload.first_ordinal + workload.replicas + 1000}"
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _expiry(bundle: bytes) -> float | None:
    """When the last authority of a PEM bundle expires, in seconds since 1970; None without any."""
    try:
        authorities = client_context(bundle).get_ca_certs()
    except ssl.SSLError:
        return None
    dates = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in authorities]
    return max(dates, default=None)


def object_of(response: Response) -> dict[str, Any]:
    """The object in a response; empty if there is none."""
    if response.status >= 300:
        return {}
    try:
        found = msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def unread(name: str, status: int, what: str, fix: str) -> Check:
    """The check of an object that could not be read."""
    if status == 404:
        return Check(name=name, state="failed", message=f"{what} does not exist", fix=fix)
    if status == 403:
        return Check(name=name, state="unknown", message=f"you may not read {what}")
    return Check(name=name, state="unknown", message=f"{what}: HTTP {status}")


def _webhook_check(key: WorkloadKey, response: Response, milliseconds: float) -> Check:
    if response.status == 403:
        message = f"you may not create pods in {key.namespace}, so it is not tried"
        return Check(name="webhook", state="unknown", message=message)
    annotations = object_of(response).get("metadata", {}).get("annotations") or {}
    what = f"a dry run of a pod of {key}"
    if POD_DECISION in annotations:
        return Check(
            name="webhook", state="ok", message=f"{what} was placed in {milliseconds:.0f} ms"
        )
    if response.status >= 300:
        error = response.body.decode("utf-8", "replace")[:200]
        return Check(name="webhook", state="unknown", message=f"{what} was rejected: {error}")
    return Check(
        name="webhook",
        state="failed",
        message=f"{what} was not placed: the API server does not reach the webhook",
        fix="kubectl get events -A --field-selector reason=AdmissionBypassed; docs/operate/"
        "troubleshoot.md",
    )
