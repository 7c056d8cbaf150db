"""The Deployment controller: rollouts (upstream: ``pkg/controller/deployment``).

Left out: adoption of ReplicaSets, the deprecated ``rollbackTo``, and events.
"""

from __future__ import annotations

from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller
from spotalis.embedded.controllers.deployment_replicasets import (
    DESIRED,
    REVISION,
    active,
    annotations_for_new,
    by_age,
    int_annotation,
    is_rolling,
    is_saturated,
    limits_of,
    new_and_old,
    new_replicaset,
    next_revision,
    size_annotations,
    size_of,
    to_clean_up,
)
from spotalis.embedded.controllers.deployment_status import (
    deadline_of,
    is_complete,
    put_condition,
    rollout_status,
    seconds_to_deadline,
    status_counts,
)
from spotalis.embedded.controllers.pod_template import same_template
from spotalis.embedded.controllers.rollout_arithmetic import (
    next_new_size,
    next_old_sizes,
    proportional_sizes,
)
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.owners import (
    controller_of,
    deleting,
    key_of,
    replicas_of,
    split,
    uid_of,
)
from spotalis.embedded.objects.pods import is_finished
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError


class DeploymentController(Controller):
    """Scales the ReplicaSet of the current template up and the others down."""

    name: ClassVar[str] = "deployment"
    user: ClassVar[str] = "system:serviceaccount:kube-system:deployment-controller"

    def listen(self) -> None:
        """Subscribe to Deployments, ReplicaSets and deleted pods (for strategy Recreate)."""
        self.on_own("deployments")
        self.on("replicasets", self._on_replicaset)
        self.on("pods", self._on_pod)

    def _on_replicaset(self, change: str, replicaset: Object, old: Object | None) -> None:
        owner = controller_of(replicaset)
        if owner is not None and owner["kind"] == "Deployment":
            self.queue.add(f"{replicaset['metadata'].get('namespace', '')}/{owner['name']}")

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        owner = controller_of(pod) if change == "DELETED" else None
        if owner is None or owner["kind"] != "ReplicaSet":
            return
        namespace = pod["metadata"].get("namespace", "")
        replicaset = self.store.get("replicasets", namespace, owner["name"])
        if replicaset is not None:
            self._on_replicaset("MODIFIED", replicaset, None)

    async def sync(self, key: str) -> float | None:
        """Take one step of one Deployment, then write its status."""
        deployment = self.store.get("deployments", *split(key))
        if deployment is None:
            return None
        sets = self.indexes.replicasets_of(uid_of(deployment))
        if deleting(deployment):
            new, old = new_and_old(deployment, sets)
            self._write_status(deployment, status_counts(deployment, new, old, self.clock.now()))
            return None
        deployment = self._record_pause(deployment)
        new, old = await self._sets(deployment, sets)
        paused = bool(deployment["spec"].get("paused"))
        if paused or _is_scaling(deployment, new, old):
            await self._scale(deployment, new, old)
            if paused:
                await self._clean_up(deployment, old)
            deployment = self._with_current_status(deployment)
            self._write_status(deployment, status_counts(deployment, new, old, self.clock.now()))
            return None
        if is_rolling(deployment):
            new, old = await self._roll(deployment, new, old)
        else:
            new, old = await self._recreate(deployment, new, old)
        deployment = self._with_current_status(deployment)
        status = rollout_status(deployment, new, old, self.clock.now())
        self._write_status(deployment, status)
        return seconds_to_deadline(deployment, status, self.clock.now())

    async def _roll(
        self, deployment: Object, new: Object | None, old: list[Object]
    ) -> tuple[Object, list[Object]]:
        if new is None:
            new = await self._create(deployment, old)
        bounds = limits_of(deployment)
        total = sum(replicas_of(one) for one in [*old, new])
        if await self._resize(deployment, new, next_new_size(bounds, replicas_of(new), total)):
            return new, old
        smaller = next_old_sizes(bounds, size_of(new), [size_of(one) for one in active(old)])
        for one in by_age(active(old)):
            await self._resize(deployment, one, smaller.get(one["metadata"]["name"]))
        if not smaller and is_complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return new, old

    async def _recreate(
        self, deployment: Object, new: Object | None, old: list[Object]
    ) -> tuple[Object | None, list[Object]]:
        shrinking = [await self._resize(deployment, one, 0) for one in active(old)]
        if any(shrinking) or self._old_pods_exist(new, old):
            return new, old
        if new is None:
            new = await self._create(deployment, old)
        await self._resize(deployment, new, replicas_of(deployment))
        if is_complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return new, old

    def _old_pods_exist(self, new: Object | None, old: list[Object]) -> bool:
        if any((one.get("status") or {}).get("replicas", 0) for one in old):
            return True
        pods = (pod for one in old for pod in self.indexes.pods_of(uid_of(one)))
        return any(not is_finished(pod) for pod in pods)

    async def _scale(self, deployment: Object, new: Object | None, old: list[Object]) -> None:
        """Scale in proportion, because the size changed or the rollout is paused."""
        bounds = limits_of(deployment)
        everything = [*old, new] if new is not None else old
        with_replicas = active(everything)
        if len(with_replicas) <= 1:
            only = with_replicas or ([new] if new is not None else by_age(old)[-1:])
            for one in only:
                await self._resize(deployment, one, bounds.replicas)
        elif is_saturated(deployment, new):
            for one in active(old):
                await self._resize(deployment, one, 0)
        elif is_rolling(deployment):
            before = int((deployment.get("status") or {}).get("replicas", 0))
            sizes = proportional_sizes(bounds, [size_of(one) for one in with_replicas], before)
            for one in with_replicas:
                await self._resize(deployment, one, sizes[one["metadata"]["name"]], force=True)

    async def _sets(
        self, deployment: Object, sets: list[Object]
    ) -> tuple[Object | None, list[Object]]:
        """Return the new and the old ReplicaSets, with annotations and revision up to date."""
        new, old = new_and_old(deployment, sets)
        if new is None:
            return None, old
        have = new["metadata"].get("annotations") or {}
        wanted = annotations_for_new(deployment, have, next_revision(old))
        seconds = int(deployment["spec"].get("minReadySeconds") or 0)
        if wanted != have or int(new["spec"].get("minReadySeconds") or 0) != seconds:
            changed = {
                **new,
                "metadata": {**new["metadata"], "annotations": wanted},
                "spec": {**new["spec"], "minReadySeconds": seconds},
            }
            return await self.api.update("replicasets", changed, user=self.user), old
        name = new["metadata"]["name"]
        reason = ("FoundNewReplicaSet", f'Found new replica set "{name}"')
        known = condition(deployment, "Progressing") is not None
        await self._record_new(deployment, wanted[REVISION], None if known else reason)
        return new, old

    async def _create(self, deployment: Object, old: list[Object]) -> Object:
        revision = next_revision(old)
        bounds = limits_of(deployment)
        total = sum(replicas_of(one) for one in old)
        replicas = next_new_size(bounds, 0, total) if is_rolling(deployment) else bounds.replicas
        wanted = new_replicaset(deployment, replicas, revision)
        try:
            new = await self.api.create("replicasets", wanted, user=self.user)
        except ApiError as refused:
            self._record_create_error(deployment, wanted, refused)
            raise
        name = new["metadata"]["name"]
        note = ("NewReplicaSetCreated", f'Created new replica set "{name}"')
        await self._record_new(deployment, str(revision), note)
        return new

    def _record_create_error(self, deployment: Object, wanted: Object, refused: ApiError) -> None:
        """Count a hash collision, so that the next name differs, or record the error."""
        namespace, name = split(key_of(wanted))
        taken = self.store.get("replicasets", namespace, name) if refused.status == 409 else None

        def change(obj: Object) -> None:
            status = obj.setdefault("status", {})
            if taken is not None:
                status["collisionCount"] = status.get("collisionCount", 0) + 1
            elif deadline_of(obj) is not None:
                message = f'Failed to create new replica set "{name}": {refused.message}'
                put_condition(
                    status,
                    "Progressing",
                    "False",
                    "ReplicaSetCreateError",
                    message,
                    now=self.clock.now(),
                )

        own = taken is not None and (controller_of(taken) or {}).get("uid") == uid_of(deployment)
        if not (own and taken and _has_template_of(taken, deployment)):
            self.set_status("deployments", key_of(deployment), change)

    async def _record_new(
        self, deployment: Object, revision: str, reason: tuple[str, str] | None
    ) -> None:
        """Write the revision into the Deployment, and the reason into condition Progressing."""
        now = self.store.get("deployments", *split(key_of(deployment)))
        if now is None:
            return
        annotations = now["metadata"].get("annotations") or {}
        status = dict(now.get("status") or {})
        if reason is not None and deadline_of(deployment) is not None:
            put_condition(status, "Progressing", "True", *reason, now=self.clock.now())
        if annotations.get(REVISION) == revision and status == (now.get("status") or {}):
            return
        metadata = {**now["metadata"], "annotations": {**annotations, REVISION: revision}}
        changed = {**now, "metadata": metadata, "status": status}
        await self.api.update("deployments", changed, user=self.user, subresource="status")

    def _record_pause(self, deployment: Object) -> Object:
        """Record in condition Progressing that the rollout is paused or resumed."""
        current = condition(deployment, "Progressing") or {}
        paused = bool(deployment["spec"].get("paused"))
        said = current.get("reason") == "DeploymentPaused"
        if (
            deadline_of(deployment) is None
            or current.get("reason") == "ProgressDeadlineExceeded"
            or paused == said
        ):
            return deployment
        reason, message = (
            ("DeploymentPaused", "Deployment is paused")
            if paused
            else ("DeploymentResumed", "Deployment is resumed")
        )

        def change(obj: Object) -> None:
            status = obj.setdefault("status", {})
            put_condition(status, "Progressing", "Unknown", reason, message, now=self.clock.now())

        return self.set_status("deployments", key_of(deployment), change)

    async def _resize(
        self, deployment: Object, replicaset: Object, replicas: int | None, *, force: bool = False
    ) -> bool:
        """Set ``spec.replicas`` unless None; ``force`` updates the size annotations in any case.

        Returns:
            Whether the size changed.
        """
        if replicas is None or (not force and replicas_of(replicaset) == replicas):
            return False
        have = replicaset["metadata"].get("annotations") or {}
        wanted = {**have, **size_annotations(limits_of(deployment))}
        resized = replicas_of(replicaset) != replicas
        if resized or wanted != have:
            changed = {
                **replicaset,
                "metadata": {**replicaset["metadata"], "annotations": wanted},
                "spec": {**replicaset["spec"], "replicas": replicas},
            }
            await self.api.update("replicasets", changed, user=self.user)
        return resized

    async def _clean_up(self, deployment: Object, old: list[Object]) -> None:
        for one in to_clean_up(deployment, old):
            await self.api.delete("replicasets", *split(key_of(one)), user=self.user)

    def _with_current_status(self, deployment: Object) -> Object:
        """The Deployment of this sync with its current status."""
        now = self.store.get("deployments", *split(key_of(deployment)))
        if now is None or uid_of(now) != uid_of(deployment):
            return deployment
        return {**deployment, "status": now.get("status") or {}}

    def _write_status(self, deployment: Object, status: Object) -> None:
        now = self.store.get("deployments", *split(key_of(deployment)))
        if now is None or uid_of(now) != uid_of(deployment):
            return

        def change(obj: Object) -> None:
            others = {
                kept["type"]: kept
                for kept in (obj.get("status") or {}).get("conditions") or ()
                if kept["type"] not in ("Available", "Progressing", "ReplicaFailure")
            }
            own = [c for c in status.get("conditions") or () if c["type"] not in others]
            obj["status"] = {**status, "conditions": [*own, *others.values()]}

        self.set_status("deployments", key_of(deployment), change)


def _is_scaling(deployment: Object, new: Object | None, old: list[Object]) -> bool:
    wanted = replicas_of(deployment)
    sizes = (
        int_annotation(one, DESIRED) for one in active([*old, new] if new is not None else old)
    )
    return any(size is not None and size != wanted for size in sizes)


def _has_template_of(replicaset: Object, deployment: Object) -> bool:
    return same_template(replicaset["spec"]["template"], deployment["spec"]["template"])
