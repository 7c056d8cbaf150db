"""The StatefulSet controller (upstream: ``pkg/controller/statefulset``).

Left out: the limit of revisions, the retention policy of volume claims, the repair of identity
labels of pods, and events.
"""

from __future__ import annotations

from typing import ClassVar

from spotalis.embedded.controllers.adoption import claim_pods
from spotalis.embedded.controllers.controller import Controller
from spotalis.embedded.controllers.pod_template import name_prefix, pod_from
from spotalis.embedded.controllers.replicaset import slow_start
from spotalis.embedded.controllers.statefulset_order import Member, OrderSpec, next_step
from spotalis.embedded.controllers.statefulset_revisions import (
    by_number,
    equal_to,
    new_revision,
    template_in,
)
from spotalis.embedded.objects.owners import (
    deleting,
    key_of,
    reference_to,
    replicas_of,
    split,
    uid_of,
)
from spotalis.embedded.objects.pods import (
    is_available,
    is_finished,
    is_ready,
    phase_of,
    seconds_to_available,
)
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError

REVISION_LABEL = "controller-revision-hash"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
NAME_LABEL = "statefulset.kubernetes.io/pod-name"


class StatefulSetController(Controller):
    """Creates, deletes and updates pods in the order of their ordinals."""

    name: ClassVar[str] = "statefulset"
    user: ClassVar[str] = "system:serviceaccount:kube-system:statefulset-controller"

    def listen(self) -> None:
        """Subscribe to StatefulSets and pods."""
        self.on_own("statefulsets")
        self.on_pods_of("StatefulSet", "statefulsets")

    async def sync(self, key: str) -> float | None:
        """Take one step of one StatefulSet, then write the status as of before that step."""
        statefulset = self.store.get("statefulsets", *split(key))
        if statefulset is None:
            return None
        await claim_pods(self.api, self.indexes, statefulset, user=self.user)
        current, update, collisions = await self._revisions(statefulset)
        pods = self.indexes.pods_of(uid_of(statefulset))
        now, seconds = self.clock.now(), int(statefulset["spec"].get("minReadySeconds") or 0)
        spec = _order_spec(statefulset, current["metadata"]["name"], update["metadata"]["name"])
        members = {pod["metadata"]["name"]: self._member(pod, seconds) for pod in pods}
        refused: ApiError | None = None
        if not deleting(statefulset):
            templates = {spec.current: template_in(current), spec.update: template_in(update)}
            refused = await self._step(statefulset, spec, list(members.values()), templates)
        self._write_status(statefulset, spec, collisions, pods)
        if refused is not None:
            raise refused
        return seconds_to_available(pods, seconds, now) if seconds else None

    async def _step(
        self,
        statefulset: Object,
        spec: OrderSpec,
        members: list[Member],
        templates: dict[str, Object],
    ) -> ApiError | None:
        step = next_step(spec, members)
        name, creations = statefulset["metadata"]["name"], iter(step.create)

        async def create() -> ApiError | None:
            ordinal, revision = next(creations)
            pod = _pod(statefulset, templates[revision], ordinal, revision)
            try:
                await self._claim_volumes(statefulset, pod)
                await self.api.create("pods", pod, user=self.user)
            except ApiError as refused:
                return refused
            return None

        refused = await slow_start(len(step.create), create)
        namespace = statefulset["metadata"].get("namespace", "")
        for ordinal in step.delete if refused is None else ():
            try:
                await self.api.delete("pods", namespace, f"{name}-{ordinal}", user=self.user)
            except ApiError as error:
                if error.status != 404:
                    return error
        return refused

    async def _claim_volumes(self, statefulset: Object, pod: Object) -> None:
        """Create the pod's missing claims from ``volumeClaimTemplates``."""
        namespace = pod["metadata"]["namespace"]
        for template in statefulset["spec"].get("volumeClaimTemplates") or ():
            name = _claim_name(template, pod)
            if self.store.get("persistentvolumeclaims", namespace, name) is None:
                labels = (statefulset["spec"].get("selector") or {}).get("matchLabels") or {}
                claim: Object = {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"namespace": namespace, "name": name, "labels": labels},
                    "spec": template["spec"],
                }
                await self.api.create("persistentvolumeclaims", claim, user=self.user)

    async def _revisions(self, statefulset: Object) -> tuple[Object, Object, int]:
        """Return the current and the update revision (created if needed) and the collisions."""
        status = statefulset.get("status") or {}
        revisions = by_number(self.indexes.revisions_of(uid_of(statefulset)))
        collisions = int(status.get("collisionCount", 0))
        number = revisions[-1].get("revision", 0) + 1 if revisions else 1
        same = equal_to(revisions, statefulset["spec"]["template"])
        if same and same[-1] is revisions[-1]:
            update = revisions[-1]
        elif same:
            update = await self.api.update(
                "controllerrevisions", {**same[-1], "revision": number}, user=self.user
            )
        else:
            update, collisions = await self._new_revision(statefulset, number, collisions)
        current = next(
            (one for one in revisions if one["metadata"]["name"] == status.get("currentRevision")),
            update,
        )
        return current, update, collisions

    async def _new_revision(
        self, statefulset: Object, number: int, collisions: int
    ) -> tuple[Object, int]:
        while True:
            wanted = new_revision(statefulset, number, collisions)
            namespace, name = split(key_of(wanted))
            taken = self.store.get("controllerrevisions", namespace, name)
            if taken is None:
                created = await self.api.create("controllerrevisions", wanted, user=self.user)
                return created, collisions
            if taken.get("data") == wanted["data"]:
                return taken, collisions
            collisions += 1

    def _member(self, pod: Object, seconds: int) -> Member:
        return Member(
            ordinal=_ordinal(pod),
            revision=_revision_of(pod),
            ready=phase_of(pod) == "Running" and is_ready(pod),
            available=is_available(pod, seconds, self.clock.now()),
            terminating=deleting(pod),
            finished=is_finished(pod),
        )

    def _write_status(
        self, statefulset: Object, spec: OrderSpec, collisions: int, pods: list[Object]
    ) -> None:
        key = key_of(statefulset)
        now = self.store.get("statefulsets", *split(key))
        if now is None or uid_of(now) != uid_of(statefulset):
            return
        seconds = int(statefulset["spec"].get("minReadySeconds") or 0)
        staying = [_revision_of(pod) for pod in pods if not deleting(pod)]
        ready = [pod for pod in pods if phase_of(pod) == "Running" and is_ready(pod)]
        counts = {
            "readyReplicas": len(ready),
            "currentReplicas": staying.count(spec.current),
            "updatedReplicas": staying.count(spec.update),
        }
        revision = spec.current
        is_updated = len(pods) == len(ready) == counts["updatedReplicas"] == spec.replicas
        if spec.rolling and is_updated:
            revision, counts["currentReplicas"] = spec.update, counts["updatedReplicas"]

        def change(obj: Object) -> None:
            status: Object = {
                "observedGeneration": statefulset["metadata"].get("generation", 1),
                "replicas": len(pods),
                "availableReplicas": sum(
                    1 for pod in ready if is_available(pod, seconds, self.clock.now())
                ),
                "currentRevision": revision,
                "updateRevision": spec.update,
                "collisionCount": collisions,
            }
            status.update({field: count for field, count in counts.items() if count})
            if (obj.get("status") or {}).get("conditions"):
                status["conditions"] = obj["status"]["conditions"]
            obj["status"] = status

        self.set_status("statefulsets", key, change)


def _order_spec(statefulset: Object, current: str, update: str) -> OrderSpec:
    spec = statefulset["spec"]
    strategy = spec.get("updateStrategy") or {}
    return OrderSpec(
        replicas=replicas_of(statefulset),
        start=int((spec.get("ordinals") or {}).get("start", 0)),
        ordered=spec.get("podManagementPolicy", "OrderedReady") != "Parallel",
        rolling=strategy.get("type", "RollingUpdate") == "RollingUpdate",
        partition=int((strategy.get("rollingUpdate") or {}).get("partition", 0)),
        current=current,
        update=update,
    )


def _pod(statefulset: Object, template: Object, ordinal: int, revision: str) -> Object:
    metadata = statefulset["metadata"]
    owner = reference_to(statefulset, "apps/v1", "StatefulSet")
    pod = pod_from(template, metadata.get("namespace", ""), owner)
    name = f"{metadata['name']}-{ordinal}"
    pod["metadata"]["name"] = name
    pod["metadata"]["generateName"] = name_prefix(metadata["name"])
    labels = pod["metadata"].setdefault("labels", {})
    labels.update({REVISION_LABEL: revision, NAME_LABEL: name, INDEX_LABEL: str(ordinal)})
    pod["spec"]["hostname"] = name
    if statefulset["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = statefulset["spec"]["serviceName"]
    if templates := statefulset["spec"].get("volumeClaimTemplates"):
        claimed = {one["metadata"]["name"]: _claim_name(one, pod) for one in templates}
        others = [v for v in pod["spec"].get("volumes") or () if v["name"] not in claimed]
        pod["spec"]["volumes"] = [
            {"name": name, "persistentVolumeClaim": {"claimName": claim}}
            for name, claim in claimed.items()
        ] + others
    return pod


def _claim_name(template: Object, pod: Object) -> str:
    return f"{template['metadata']['name']}-{pod['metadata']['name']}"


def _ordinal(pod: Object) -> int:
    """The number at the end of the name; -1 if there is none."""
    number = pod["metadata"]["name"].rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1


def _revision_of(pod: Object) -> str:
    revision: str = (pod["metadata"].get("labels") or {}).get(REVISION_LABEL, "")
    return revision
