"""Deployments: rollouts over ReplicaSets (upstream: ``pkg/controller/deployment``).

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
    built,
    by_age,
    is_rolling,
    limits_of,
    new_and_old,
    next_revision,
    noted,
    saturated,
    size_annotations,
    size_of,
    to_clean_up,
)
from spotalis.embedded.controllers.deployment_status import (
    complete,
    counted,
    deadline_of,
    put_condition,
    rolled,
    seconds_to_deadline,
)
from spotalis.embedded.controllers.pod_template import same_template
from spotalis.embedded.controllers.rollout_arithmetic import grown, proportional, shrunk
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
    """Keeps one new ReplicaSet and takes the old ones down."""

    name: ClassVar[str] = "deployment"
    user: ClassVar[str] = "system:serviceaccount:kube-system:deployment-controller"

    def listen(self) -> None:
        """Deployments, their ReplicaSets, and the end of pods (Recreate waits for it)."""
        self.on_own("deployments")
        self.on("replicasets", self._replicaset)
        self.on("pods", self._pod)

    def _replicaset(self, change: str, replicaset: Object, old: Object | None) -> None:
        owner = controller_of(replicaset)
        if owner is not None and owner["kind"] == "Deployment":
            self.queue.add(f"{replicaset['metadata'].get('namespace', '')}/{owner['name']}")

    def _pod(self, change: str, pod: Object, old: Object | None) -> None:
        owner = controller_of(pod) if change == "DELETED" else None
        if owner is None or owner["kind"] != "ReplicaSet":
            return
        namespace = pod["metadata"].get("namespace", "")
        replicaset = self.store.get("replicasets", namespace, owner["name"])
        if replicaset is not None:
            self._replicaset("MODIFIED", replicaset, None)

    async def sync(self, key: str) -> float | None:
        """One step of one Deployment: at most one scaling, then the status."""
        deployment = self.store.get("deployments", *split(key))
        if deployment is None:
            return None
        sets = self.indexes.replicasets_of(uid_of(deployment))
        if deleting(deployment):
            new, old = new_and_old(deployment, sets)
            self._write_status(deployment, counted(deployment, new, old, self.clock.now()))
            return None
        deployment = self._note_pause(deployment)
        new, old = await self._sets(deployment, sets)
        paused = bool(deployment["spec"].get("paused"))
        if paused or _is_scaling(deployment, new, old):
            await self._scale(deployment, new, old)
            if paused:
                await self._clean_up(deployment, old)
            deployment = self._fresh(deployment)
            self._write_status(deployment, counted(deployment, new, old, self.clock.now()))
            return None
        if is_rolling(deployment):
            new, old = await self._roll(deployment, new, old)
        else:
            new, old = await self._recreate(deployment, new, old)
        deployment = self._fresh(deployment)
        status = rolled(deployment, new, old, self.clock.now())
        self._write_status(deployment, status)
        return seconds_to_deadline(deployment, status, self.clock.now())

    async def _roll(
        self, deployment: Object, new: Object | None, old: list[Object]
    ) -> tuple[Object, list[Object]]:
        if new is None:
            new = await self._create(deployment, old)
        bounds = limits_of(deployment)
        total = sum(replicas_of(one) for one in [*old, new])
        if await self._resize(deployment, new, grown(bounds, replicas_of(new), total)):
            return new, old
        smaller = shrunk(bounds, size_of(new), [size_of(one) for one in active(old)])
        for one in by_age(active(old)):
            await self._resize(deployment, one, smaller.get(one["metadata"]["name"]))
        if not smaller and complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return new, old

    async def _recreate(
        self, deployment: Object, new: Object | None, old: list[Object]
    ) -> tuple[Object | None, list[Object]]:
        shrinking = [await self._resize(deployment, one, 0) for one in active(old)]
        if any(shrinking) or self._old_pods_run(new, old):
            return new, old
        if new is None:
            new = await self._create(deployment, old)
        await self._resize(deployment, new, replicas_of(deployment))
        if complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return new, old

    def _old_pods_run(self, new: Object | None, old: list[Object]) -> bool:
        if any((one.get("status") or {}).get("replicas", 0) for one in old):
            return True
        pods = (pod for one in old for pod in self.indexes.pods_of(uid_of(one)))
        return any(not is_finished(pod) for pod in pods)

    async def _scale(self, deployment: Object, new: Object | None, old: list[Object]) -> None:
        """The wanted number changed, or the rollout is paused: keep the proportions."""
        bounds = limits_of(deployment)
        everything = [*old, new] if new is not None else old
        living = active(everything)
        if len(living) <= 1:
            only = living or ([new] if new is not None else by_age(old)[-1:])
            for one in only:
                await self._resize(deployment, one, bounds.replicas)
        elif saturated(deployment, new):
            for one in active(old):
                await self._resize(deployment, one, 0)
        elif is_rolling(deployment):
            before = int((deployment.get("status") or {}).get("replicas", 0))
            sizes = proportional(bounds, [size_of(one) for one in living], before)
            for one in living:
                await self._resize(deployment, one, sizes[one["metadata"]["name"]], force=True)

    async def _sets(
        self, deployment: Object, sets: list[Object]
    ) -> tuple[Object | None, list[Object]]:
        """The new and the old ReplicaSets, with annotations and revision brought up to date."""
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
        await self._note_new(deployment, wanted[REVISION], None if known else reason)
        return new, old

    async def _create(self, deployment: Object, old: list[Object]) -> Object:
        revision = next_revision(old)
        bounds = limits_of(deployment)
        total = sum(replicas_of(one) for one in old)
        replicas = grown(bounds, 0, total) if is_rolling(deployment) else bounds.replicas
        wanted = built(deployment, replicas, revision)
        try:
            new = await self.api.create("replicasets", wanted, user=self.user)
        except ApiError as refused:
            self._note_refusal(deployment, wanted, refused)
            raise
        name = new["metadata"]["name"]
        note = ("NewReplicaSetCreated", f'Created new replica set "{name}"')
        await self._note_new(deployment, str(revision), note)
        return new

    def _note_refusal(self, deployment: Object, wanted: Object, refused: ApiError) -> None:
        """A taken name is a hash collision: count it, so that the next try has another name."""
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
        if not (own and taken and _made_of(taken, deployment)):
            self.set_status("deployments", key_of(deployment), change)

    async def _note_new(
        self, deployment: Object, revision: str, reason: tuple[str, str] | None
    ) -> None:
        """Write the revision on the Deployment, and how its new ReplicaSet came about."""
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

    def _note_pause(self, deployment: Object) -> Object:
        """Say in condition Progressing that the rollout is paused, or goes on."""
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
        """Set ``spec.replicas`` (None: leave); with ``force`` also refresh the size annotations.

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

    def _fresh(self, deployment: Object) -> Object:
        """The Deployment as it was looked at, with the conditions as they are by now."""
        now = self.store.get("deployments", *split(key_of(deployment)))
        if now is None or uid_of(now) != uid_of(deployment):
            return deployment
        return {**deployment, "status": now.get("status") or {}}

    def _write_status(self, deployment: Object, status: Object) -> None:
        now = self.store.get("deployments", *split(key_of(deployment)))
        if now is None or uid_of(now) != uid_of(deployment):
            return

        def change(obj: Object) -> None:
            foreign = {
                kept["type"]: kept
                for kept in (obj.get("status") or {}).get("conditions") or ()
                if kept["type"] not in ("Available", "Progressing", "ReplicaFailure")
            }
            own = [c for c in status.get("conditions") or () if c["type"] not in foreign]
            obj["status"] = {**status, "conditions": [*own, *foreign.values()]}

        self.set_status("deployments", key_of(deployment), change)


def _is_scaling(deployment: Object, new: Object | None, old: list[Object]) -> bool:
    wanted = replicas_of(deployment)
    noted_sizes = (noted(one, DESIRED) for one in active([*old, new] if new is not None else old))
    return any(size is not None and size != wanted for size in noted_sizes)


def _made_of(replicaset: Object, deployment: Object) -> bool:
    return same_template(replicaset["spec"]["template"], deployment["spec"]["template"])
