"""The cluster as the operator sees it: one cache per kind, and indexes across them.

Watches write it through the ``on_..._change`` methods, which maintain the indexes and enqueue the
workloads that a change affects. Everything else only reads.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from typing import Any, NamedTuple, Self, TypeAlias

import msgspec

from spotalis.controller.cache_health import CacheHealth
from spotalis.controller.changed_pods import ChangedPods
from spotalis.controller.index import index
from spotalis.controller.nodes import Nodes
from spotalis.controller.owners import NoWorkload, ResolvedOwner, resolve_owner
from spotalis.controller.placed_pods import PlacedPods
from spotalis.controller.reservations import Reservations
from spotalis.kube.resources import DEPLOYMENTS, ROLLOUTS
from spotalis.kube.store import Store, StoreChange
from spotalis.model.configuration import (
    SHORT_KINDS,
    WorkloadConfiguration,
    pause_everywhere,
    read_configuration,
)
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock
from spotalis.model.ledger import Ledger, LedgerObject
from spotalis.model.objects import (
    DisruptionBudget,
    Namespace,
    Node,
    Owner,
    Pod,
    ReplicaSet,
    Workload,
)
from spotalis.model.rollouts import RolloutProgress


class WorkloadKey(NamedTuple):
    """Identifies a workload; as text ``shop/deploy/api``."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        """The key of the workload that a ledger belongs to."""
        return cls(*ledger.workload.split("/", 2))

    def __str__(self) -> str:
        return f"{self.namespace}/{SHORT_KINDS[self.kind]}/{self.name}"


_NamespacedUid: TypeAlias = tuple[str, str]
"""A namespace and the UID of an owner in it."""
NOT_ENABLED = WorkloadConfiguration()
"""The policy of a workload that is not managed."""
Enqueue: TypeAlias = Callable[[WorkloadKey], None]


class Cluster:
    """Caches and indexes; the watches write, everything else reads."""

    def __init__(
        self,
        settings: ControllerConfiguration,
        reservations: Reservations,
        enqueue: Enqueue,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self._reservations = reservations
        self._enqueue = enqueue
        self.pods: Store[Pod] = Store()
        self.namespaces: Store[Namespace] = Store()
        self.replica_sets: Store[ReplicaSet] = Store()
        self.deployments: Store[Workload] = Store()
        self.stateful_sets: Store[Workload] = Store()
        self.rollouts: Store[Workload] = Store()
        self.watches_rollouts: bool | None = None
        """Whether the API of Argo Rollouts is served and may be read. None: not known yet."""
        self.budgets: Store[DisruptionBudget] = Store()
        self.ledgers: Store[LedgerObject] = Store()
        self.placed = PlacedPods()
        self.nodes = Nodes(settings, clock, lambda name: self.placed.count_on(name) > 0)
        self._stores: dict[str, Store[Any]] = {
            "pods": self.pods,
            "nodes": self.nodes.store,
            "namespaces": self.namespaces,
            "replicasets": self.replica_sets,
            "deployments": self.deployments,
            "statefulsets": self.stateful_sets,
            "poddisruptionbudgets": self.budgets,
            "configmaps": self.ledgers,
        }
        self.health = CacheHealth(self._stores, clock)
        self._pods_by_owner: dict[_NamespacedUid, dict[str, Pod]] = {}
        self.changed_pods = ChangedPods()
        """The pods that have changed, or whose node has."""
        self._sets_by_workload: dict[_NamespacedUid, dict[str, ReplicaSet]] = {}
        self._managed: dict[WorkloadKey, WorkloadConfiguration] = {}
        self._managed_in: Counter[str] = Counter()
        """The number of managed workloads by namespace."""
        self._waiters: dict[_NamespacedUid, list[asyncio.Future[None]]] = {}

    def stores(self) -> Mapping[str, Store[Any]]:
        """All caches, by the plural name of their kind; Rollouts only while they are watched."""
        return self._stores

    def workloads(self) -> Iterator[Workload]:
        """The workloads of all kinds, managed or not."""
        yield from (*self.deployments, *self.stateful_sets, *self.rollouts)

    def find_workload(self, key: WorkloadKey) -> Workload | None:
        """The workload; None if it does not exist."""
        workload = self._store_of(key.kind).get(key.namespace, key.name)
        return workload and self._with_template(workload)

    def find_configuration(self, key: WorkloadKey) -> WorkloadConfiguration | None:
        """The policy of a workload; None if it is not managed."""
        return self._managed.get(key)

    def managed_keys(self) -> tuple[WorkloadKey, ...]:
        """All opted-in workloads, including those with an invalid policy; in no order."""
        return tuple(self._managed)

    def manages_others(self, namespace: str) -> bool:
        """Whether workloads of other namespaces are managed."""
        return len(self._managed_in) > (namespace in self._managed_in)

    def owner_uids(self, workload: Workload) -> Set[str]:
        """UIDs of the controllers of a workload's pods: ReplicaSets or the StatefulSet itself."""
        if workload.kind == "StatefulSet":
            return {workload.uid}
        return self.replica_sets_of(workload).keys()

    def replica_sets_of(self, workload: Workload) -> Mapping[str, ReplicaSet]:
        """The ReplicaSets of a Deployment or Rollout, by UID."""
        return self._sets_by_workload.get((workload.namespace, workload.uid), {})

    def with_replica_sets(self, workload: Workload) -> tuple[Workload, Mapping[str, int]]:
        """A paused Rollout with the sizes of its ReplicaSets, if there are several.

        Its desired replicas are all of theirs: a preview comes in addition to ``spec.replicas``.
        Every other workload is returned as it is.
        """
        if workload.rollout is None or workload.rollout.progress is not RolloutProgress.PAUSED:
            return workload, {}
        found = self.replica_sets_of(workload).values()
        sizes = {each.uid: each.replicas for each in found if each.replicas}
        if len(sizes) < 2:
            return workload, {}
        return msgspec.structs.replace(workload, replicas=sum(sizes.values())), sizes

    def pods_owned_by(self, namespace: str, uid: str) -> Collection[Pod]:
        """The pods of a namespace whose controller has this UID.

        Any user can create a pod that names an owner in another namespace. Such a pod has no owner.
        """
        return self.pods_by_uid(namespace, uid).values()

    def pods_by_uid(self, namespace: str, owner_uid: str) -> Mapping[str, Pod]:
        """The same pods by their own UIDs."""
        return self._pods_by_owner.get((namespace, owner_uid), {})

    def pods_of(self, workload: Workload) -> Iterator[Pod]:
        """The pods of a workload."""
        for uid in self.owner_uids(workload):
            yield from self.pods_owned_by(workload.namespace, uid)

    def budgets_in(self, namespace: str) -> tuple[DisruptionBudget, ...]:
        """The PodDisruptionBudgets of a namespace."""
        return tuple(self.budgets.in_namespace(namespace))

    def find_key(self, pod: Pod) -> WorkloadKey | None:
        """The key of the workload that a pod belongs to; None if its owners are not known."""
        owner = pod.owner
        if owner is None or owner.group != "apps":
            return None
        if owner.kind == "StatefulSet":
            return WorkloadKey("StatefulSet", pod.namespace, owner.name)
        if owner.kind == "ReplicaSet":
            return self.parent_of(self.replica_sets.get(pod.namespace, owner.name))
        return None

    def find_owner(self, namespace: str, owner: Owner) -> ResolvedOwner | NoWorkload | None:
        """The workload behind the controller of a pod; None if it is not in the cache."""
        if owner.group != "apps":
            return NoWorkload()
        if owner.kind == "StatefulSet":
            return resolve_owner(owner, None, self.stateful_sets.get(namespace, owner.name))
        replica_set = self.replica_sets.get(namespace, owner.name)
        parent = self.parent_of(replica_set)
        workload = self.find_workload(parent) if parent else None
        return resolve_owner(owner, replica_set, workload, has_parent=parent is not None)

    def parent_of(self, replica_set: ReplicaSet | None) -> WorkloadKey | None:
        """The Deployment or Rollout that owns a ReplicaSet.

        None if none does, or if it is a Rollout and Rollouts are not watched.
        """
        if replica_set is None or replica_set.owner is None:
            return None
        owner = replica_set.owner
        for resource in (DEPLOYMENTS, ROLLOUTS) if self.watches_rollouts else (DEPLOYMENTS,):
            if (owner.group, owner.kind) == (resource.group, resource.kind):
                return WorkloadKey(resource.kind, replica_set.namespace, owner.name)
        return None

    def _store_of(self, kind: str) -> Store[Workload]:
        stores = {"Deployment": self.deployments, "StatefulSet": self.stateful_sets}
        return stores.get(kind, self.rollouts)

    def _with_template(self, workload: Workload) -> Workload:
        """A Rollout that uses the pod template of a Deployment, with this template."""
        if workload.rollout is None or not workload.rollout.template_of:
            return workload
        source = self.deployments.get(workload.namespace, workload.rollout.template_of)
        if source is None:
            return workload
        return msgspec.structs.replace(
            workload,
            shape=source.shape,
            template_labels=source.template_labels,
            selector=workload.selector if workload.selector.requirements else source.selector,
        )

    async def wait_for_change(self, namespace: str, owner_uid: str, seconds: float) -> bool:
        """Wait for a change of an owner or of its pods; returns False if none comes in time.

        The owner need not be in the cache yet.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = namespace, owner_uid
        self._waiters.setdefault(key, []).append(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            waiting = self._waiters.get(key)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._waiters[key]
        return True

    def on_pod_change(self, change: StoreChange[Pod]) -> None:
        """Update the pod indexes and enqueue the workload of the pod."""
        old, new = change.old, change.new
        self.placed.on_change(change)
        for pod in (old, new):
            if pod is None:
                continue
            present = pod is new
            if pod.owner is not None:
                index(self._pods_by_owner, (pod.namespace, pod.owner.uid), pod.uid, pod, present)
            if not self.placed.count_on(pod.node):
                self.nodes.on_last_pod_removed(pod.node)
        for pod in (old, new):
            self._mark_changed(pod)
        latest = new or old
        if latest is None:
            return
        if latest.owner is not None:
            self._reservations.remove(latest.namespace, latest.owner.uid, latest.request_uid)
            self._wake(latest.namespace, latest.owner.uid)
        key = self.find_key(latest)
        if key is not None and key in self._managed:
            self._enqueue(key)

    def on_node_change(self, change: StoreChange[Node]) -> None:
        """Update the nodes; enqueue all workloads if placements may change."""
        enqueue = self.nodes.on_change(change)
        latest = change.new or change.old
        if self.changed_pods and latest is not None:
            for pod in self.placed.pods_on(latest.name):
                self._mark_changed(pod)
        # Once all first lists have arrived, every workload is enqueued (app/watches.py).
        if enqueue and self.health.is_settled():
            for key in self._managed:
                self._enqueue(key)

    def on_namespace_change(self, change: StoreChange[Namespace]) -> None:
        """Read the policy of every workload in the namespace again."""
        latest = change.new or change.old
        if latest is None:
            return
        everywhere = latest.name == self.settings.namespace  # It may pause all workloads.
        for store in (self.deployments, self.stateful_sets, self.rollouts):
            for workload in store if everywhere else store.in_namespace(latest.name):
                self._update_policy(workload)

    def on_workload_change(self, change: StoreChange[Workload]) -> None:
        """Read the policy of the workload again."""
        old, new = change.old, change.new
        if new is not None:
            self._update_policy(new)
        elif old is not None:
            self._forget(key_of(old))
        if (latest := new or old) is not None:
            self._wake(latest.namespace, latest.uid)

    def on_replica_set_change(self, change: StoreChange[ReplicaSet]) -> None:
        """Update the link between pods and their Deployment or Rollout."""
        old, new = change.old, change.new
        for record in (old, new):
            if record is not None and record.owner is not None:
                owner = record.namespace, record.owner.uid
                index(self._sets_by_workload, owner, record.uid, record, record is new)
        latest = new or old
        if latest is None:
            return
        self._wake(latest.namespace, latest.uid)
        key = self.parent_of(latest)
        if key is not None and key in self._managed:
            self._enqueue(key)

    def on_rollouts_discovered(self, readable: bool) -> None:
        """Add the cache of Rollouts, or forget them all because they cannot be watched any more."""
        if readable and not self.watches_rollouts:
            self._stores[ROLLOUTS.plural] = self.rollouts
        elif not readable and self.watches_rollouts:
            del self._stores[ROLLOUTS.plural]
            dropped, self.rollouts = self.rollouts, Store()
            for workload in dropped:
                self._forget(key_of(workload))
        self.watches_rollouts = readable

    def on_budget_change(self, change: StoreChange[DisruptionBudget]) -> None:
        """Enqueue the workloads of the namespace."""
        latest = change.new or change.old
        if latest is not None:
            for key in self._managed:
                if key.namespace == latest.namespace:
                    self._enqueue(key)

    def policy_of(self, workload: Workload) -> WorkloadConfiguration:
        """The same as :meth:`read_policy`; it is not read again for a workload in the cache."""
        if self._store_of(workload.kind).get(workload.namespace, workload.name) is workload:
            return self._managed.get(key_of(workload), NOT_ENABLED)
        return self.read_policy(workload)

    def read_policy(self, workload: Workload) -> WorkloadConfiguration:
        """The policy that labels and annotations give a workload; not enabled in namespaces that
        are never managed."""
        namespace = self.namespaces.get("", workload.namespace)
        if not self.settings.namespaces.admits(namespace):
            return NOT_ENABLED
        read = read_configuration(workload, namespace, self.settings.defaults)
        return pause_everywhere(read, self.namespaces.get("", self.settings.namespace))

    def _update_policy(self, workload: Workload) -> None:
        key, read = key_of(workload), self.read_policy(workload)
        if read.enabled or read.problems:
            self._managed_in[key.namespace] += key not in self._managed
            self._managed[key] = read
            self._enqueue(key)
        else:
            self._forget(key)
            if workload.balanced is not None:
                self._enqueue(key)  # its condition must be removed

    def _forget(self, key: WorkloadKey) -> None:
        if self._managed.pop(key, None) is not None:
            self._managed_in[key.namespace] -= 1
            self._managed_in += Counter()  # Drops the namespaces with none.
            self._enqueue(key)

    def _mark_changed(self, pod: Pod | None) -> None:
        if pod is not None and pod.owner is not None:
            owner = pod.namespace, pod.owner.uid
            self.changed_pods.mark(owner, pod.uid, len(self.pods_owned_by(*owner)))

    def _wake(self, namespace: str, owner_uid: str) -> None:
        for future in self._waiters.pop((namespace, owner_uid), ()):
            if not future.done():
                future.set_result(None)


def key_of(workload: Workload) -> WorkloadKey:
    """The key of a workload."""
    return WorkloadKey(workload.kind, workload.namespace, workload.name)
