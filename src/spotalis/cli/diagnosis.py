"""The checks of ``spotalis doctor``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from spotalis.app.inspection import Inspection
from spotalis.cli.operator_checks import NAME, Check, OperatorChecks, get, object_of, unread
from spotalis.cli.server_version import OLDEST_MINOR, read_server_version
from spotalis.cli.views import API_VERSION
from spotalis.controller.cluster import key_of
from spotalis.kube.client import Client
from spotalis.kube.resources import WEBHOOK_CONFIGURATIONS
from spotalis.model.nodes import NodeType
from spotalis.model.objects import DisruptionBudget

_TO_INSTALL = (
    ("", "namespaces"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)
_MOST_EXAMPLES = 3


class CheckList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What ``doctor -o json`` prints."""

    api_version: str = API_VERSION
    kind: str = "CheckList"
    items: list[Check]


class Diagnosis:
    """Carries out the checks on one cluster."""

    def __init__(self, inspection: Inspection, client: Client, namespace: str) -> None:
        """Prepare.

        Args:
            client: for what the inspection has not read, and for dry runs.
            namespace: of the operator.
        """
        self._inspection = inspection
        self._cluster = inspection.cluster
        self._client = client
        self._namespace = namespace

    async def before_installation(self) -> list[Check]:
        """Whether the operator can be installed, and what it would find."""
        return [
            await self._server(),
            self._reading(),
            await self._installing(),
            self._nodes(),
            self._unknown_nodes(),
            await self._other_webhooks(),
            self._budgets(),
        ]

    async def installed(self) -> list[Check]:
        """Whether an installed operator works."""
        return [
            await self._server(),
            self._reading(),
            *await OperatorChecks(self._cluster, self._client, self._namespace).run(),
            await self._other_webhooks(),
            self._nodes(),
            self._unknown_nodes(),
            self._policies(),
            self._budgets(),
            await self._monitoring(),
        ]

    async def _server(self) -> Check:
        version = await read_server_version(self._client)
        found = version.git_version
        if version.is_too_old:
            return Check(
                name="kubernetes",
                state="failed",
                message=f"{found} is older than 1.{OLDEST_MINOR}, which Spotalis needs",
                fix="upgrade the cluster",
            )
        return Check(name="kubernetes", state="ok", message=f"{found}, reachable")

    def _reading(self) -> Check:
        missing = self._inspection.missing
        if missing:
            return Check(
                name="permissions",
                state="warning",
                message="; ".join(map(str, missing)),
                fix="use an account with the ClusterRole `view` and the right to list nodes",
            )
        return Check(name="permissions", state="ok", message="you may read what Spotalis reads")

    async def _installing(self) -> Check:
        denied = []
        for group, resource in _TO_INSTALL:
            attributes = {"group": group, "resource": resource, "verb": "create"}
            response = await self._client.raw(
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": attributes},
                },
            )
            if not object_of(response).get("status", {}).get("allowed"):
                denied.append(resource)
        if denied:
            return Check(
                name="installing",
                state="failed",
                message=f"you may not create {', '.join(denied)}",
                fix="let a cluster administrator install it, or install it for some namespaces",
            )
        return Check(name="installing", state="ok", message="you may create what Spotalis needs")

    async def _other_webhooks(self) -> Check:
        status, found = await get(self._client, WEBHOOK_CONFIGURATIONS.path())
        if status != 200:
            return unread("other webhooks", status, "mutatingwebhookconfigurations", "")
        names = sorted(
            item["metadata"]["name"]
            for item in found.get("items", ())
            if item["metadata"]["name"] != NAME and _changes_pods(item.get("webhooks") or ())
        )
        if not names:
            return Check(name="other webhooks", state="ok", message="no other one changes pods")
        return Check(
            name="other webhooks",
            state="ok",
            message=f"{_listed(names)} also change pods; a pod whose capacity type they change "
            "counts as it is and is not moved",
        )

    def _nodes(self) -> Check:
        types = Counter(
            self._cluster.nodes.type_of(node.name) or NodeType.UNKNOWN
            for node in self._cluster.nodes.store
        )
        groups = [group.name for group in self._cluster.nodes.groups_in_use()]
        spot, on_demand = types[NodeType.SPOT], types[NodeType.ON_DEMAND]
        message = f"{on_demand} on-demand and {spot} spot"
        if not groups:
            return Check(
                name="nodes",
                state="failed",
                message=f"{message}: no provider group is in use, so no pod is placed or moved",
                fix="describe the labels of the nodes in `nodeGroups` of the settings",
            )
        return Check(name="nodes", state="ok", message=f"{message}, by {_listed(groups)}")

    def _unknown_nodes(self) -> Check:
        unknown = sorted(
            node.name
            for node in self._cluster.nodes.store
            if self._cluster.nodes.type_of(node.name) in (None, NodeType.UNKNOWN)
        )
        if not unknown:
            return Check(name="unknown nodes", state="ok", message="every node has a capacity type")
        return Check(
            name="unknown nodes",
            state="warning",
            message=f"{_listed(unknown)}: replicas on them are left out of the split",
            fix=f"spotalis explain node/{unknown[0]}",
        )

    def _policies(self) -> Check:
        wrong = []
        for key in sorted(self._cluster.managed_keys()):
            configuration = self._cluster.find_configuration(key)
            if configuration and (configuration.problems or configuration.warnings):
                wrong.append(str(key))
        count = len(self._cluster.managed_keys())
        if wrong:
            namespace, kind, name = wrong[0].split("/")
            return Check(
                name="policies",
                state="warning",
                message=f"{len(wrong)} of {count} managed workloads have wrong or unread values: "
                f"{_listed(wrong)}",
                fix=f"spotalis explain {kind}/{name} -n {namespace}",
            )
        return Check(name="policies", state="ok", message=f"{count} managed workloads, all valid")

    def _budgets(self) -> Check:
        blocked = [
            f"{budget.namespace}/{budget.name}"
            for budget in self._cluster.budgets
            if _never_allows(budget) and self._is_of_workload(budget)
        ]
        if blocked:
            return Check(
                name="budgets",
                state="warning",
                message=f"{_listed(sorted(blocked))} can never allow an eviction",
                fix="let the budget allow one disruption, for example maxUnavailable: 1",
            )
        return Check(name="budgets", state="ok", message="no PodDisruptionBudget blocks all moves")

    def _is_of_workload(self, budget: DisruptionBudget) -> bool:
        return any(
            budget.selector is not None and budget.selector.matches(workload.template_labels)
            for workload in self._cluster.workloads()
            if workload.namespace == budget.namespace
            and self._cluster.find_configuration(key_of(workload))
        )

    async def _monitoring(self) -> Check:
        """Whether the Prometheus Operator selects the ServiceMonitor of Spotalis."""
        root = "/apis/monitoring.coreos.com/v1"
        path = f"{root}/namespaces/{self._namespace}/servicemonitors/{NAME}"
        (status, monitor), (listed, servers) = await asyncio.gather(
            get(self._client, path), get(self._client, f"{root}/prometheuses")
        )
        if status != 200 or listed != 200:
            return Check(name="monitoring", state="ok", message="no ServiceMonitor is in use")
        labels = monitor["metadata"].get("labels") or {}
        for server in servers.get("items", ()):
            selector = server["spec"].get("serviceMonitorSelector") or {}
            wanted = selector.get("matchLabels") or {}
            if all(labels.get(key) == value for key, value in wanted.items()):
                name = f"{server['metadata']['namespace']}/{server['metadata']['name']}"
                return Check(name="monitoring", state="ok", message=f"Prometheus {name} selects it")
        return Check(
            name="monitoring",
            state="failed",
            message=f"no Prometheus selects servicemonitor/{NAME}",
            fix="add the labels of serviceMonitorSelector to the ServiceMonitor",
        )


def _changes_pods(webhooks: Iterable[Mapping[str, Any]]) -> bool:
    return any(
        {"pods", "*", "*/*", "pods/*"} & set(rule.get("resources") or ())
        and {"CREATE", "*"} & set(rule.get("operations") or ())
        for webhook in webhooks
        for rule in webhook.get("rules") or ()
    )


def _never_allows(budget: DisruptionBudget) -> bool:
    """Whether a budget allows nothing although every pod that it expects is healthy."""
    return (
        budget.disruptions_allowed == 0
        and budget.current_healthy > 0
        and budget.desired_healthy >= budget.current_healthy
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_EXAMPLES
    shown = ", ".join(names[:_MOST_EXAMPLES])
    return f"{shown} and {more} more" if more > 0 else shown
