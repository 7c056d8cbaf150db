"""The verbs of the API server, which controllers in this process call directly.

Requests over a transport arrive through :mod:`spotalis.embedded.server.endpoints`.
Every write is atomic: other tasks run in the middle of a request only while an admission webhook
is called (on the creation of a pod).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spotalis.embedded.objects.conditions import drop
from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.resources import BY_PLURAL, Object, Resource
from spotalis.embedded.server import errors, eviction, scale
from spotalis.embedded.server.admission import Admission, AdmissionRequest, WebhookCaller
from spotalis.embedded.server.audit import Audit, AuditEntry
from spotalis.embedded.server.defaults import (
    fill_condition_times,
    run_admission_plugins,
    set_defaults,
)
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.events import EventExpiry
from spotalis.embedded.server.patches import patched
from spotalis.embedded.server.validation import check_patched, check_uid
from spotalis.embedded.server.writes import DeleteOptions, Writer, check_preconditions
from spotalis.embedded.store import ObjectStore
from spotalis.model.environment import Clock, Random

__all__ = ["SYSTEM", "Api", "ApiError", "DeleteOptions", "WebhookCaller"]

SYSTEM = "system:controller"
"""The user of requests that name none."""
_BINDING = Resource(plural="pods/binding", kind="Binding")
_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class Api:
    """An API server.

    It copies the objects that it is given. The objects that it returns are those in the store and
    must not be changed.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Random,
        webhook: WebhookCaller | None = None,
        store: ObjectStore | None = None,
    ) -> None:
        """Create a server with the four initial namespaces.

        Args:
            clock: for timestamps.
            rng: for generated names and UIDs.
            webhook: calls admission webhooks; None if webhooks cannot be reached.
            store: holds the objects; by default a new one.
        """
        self.clock = clock
        self.rng = rng
        self.store = ObjectStore() if store is None else store
        self.audit = Audit(clock)
        self.custom_groups: dict[str, dict[str, list[Object]]] = {}
        """API groups of custom resources (version v1): the objects by plural, only to be listed."""
        self.admit_eviction: Callable[[str], None] = lambda name: None
        """Raises ApiError if admission control refuses the eviction of the pod with this name."""
        self._event_expiry = EventExpiry(self.store, clock)
        self._writer = Writer(self.store, clock, rng)
        self._admission = Admission(self.store, webhook, self._writer.uid)
        for name in _NAMESPACES:
            if self.store.get("namespaces", "", name) is None:
                self._writer.create(BY_PLURAL["namespaces"], {"metadata": {"name": name}})

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """Return the object; unlike the other verbs, this one is not in the audit log.

        Raises:
            ApiError: 404, the object does not exist.
        """
        found = self.store.get(plural, namespace, name)
        if found is None:
            raise errors.not_found(BY_PLURAL[plural], name)
        return found

    async def create(
        self,
        plural: str,
        obj: Object,
        *,
        user: str = SYSTEM,
        dry_run: bool = False,
    ) -> Object:
        """Create an object, after admission, and return it as stored.

        Raises:
            ApiError: 403, 404 (no such namespace), 409 or 422; 500 when a webhook fails.
        """
        resource = BY_PLURAL[plural]
        namespace = obj["metadata"].get("namespace", "") if resource.namespaced else ""
        name = obj["metadata"].get("name", "")
        with self.audit.entry(
            "create", plural, namespace, name, user, code=201, dry_run=dry_run
        ) as entry:
            made = await self._create(resource, _own(resource, obj), entry)
            entry.name = made["metadata"]["name"]
            return made

    async def update(
        self,
        plural: str,
        obj: Object,
        *,
        user: str = SYSTEM,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Replace an object, its status or its scale, and return the stored object.

        A ``metadata.resourceVersion`` that is not current is a conflict.

        Raises:
            ApiError: 404, 409 or 422.
        """
        resource = BY_PLURAL[plural]
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "") if resource.namespaced else ""
        name = metadata.get("name", "")
        with self.audit.entry(
            "update", plural, namespace, name, user, subresource=subresource, dry_run=dry_run
        ) as entry:
            old = self.store.get(plural, namespace, name)
            if old is None:
                if not resource.create_on_update:
                    raise errors.not_found(resource, name)
                if metadata.get("uid"):
                    raise errors.another_uid(resource, metadata, "")
                entry.code, created = 201, _own(resource, obj)
                created["metadata"].pop("resourceVersion", None)
                return await self._create(resource, created, entry)
            if subresource == "scale":
                new = _own(resource, scale.scaled(resource, old, obj))
                subresource = ""
            else:
                new = _own(resource, obj)
            return self._writer.replace(
                resource, new, old, subresource=subresource, dry_run=dry_run
            )

    async def patch(
        self,
        plural: str,
        namespace: str,
        name: str,
        body: Any,
        *,
        patch_type: str,
        user: str = SYSTEM,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Change parts of an object, and return the stored object.

        Args:
            plural: the kind of the object.
            namespace: ``""`` for cluster-scoped kinds.
            name: the name of the object.
            body: the decoded patch.
            patch_type: its content type, as in :mod:`spotalis.embedded.server.patches`.
            user: the user of the request.
            subresource: ``""``, ``status`` or ``scale``.
            dry_run: return the result without storing it.

        Raises:
            ApiError: 400, 404, 409, 415 or 422.
        """
        resource = BY_PLURAL[plural]
        with self.audit.entry(
            "patch", plural, namespace, name, user, subresource=subresource, dry_run=dry_run
        ):
            old = self.store.get(plural, namespace, name)
            if old is None:
                raise errors.not_found(resource, name)
            if subresource == "scale":
                new = scale.scaled(resource, old, patched(scale.scale_of(old), body, patch_type))
                subresource = ""
            else:
                new = patched(old, body, patch_type)
            if (given := (new.get("metadata") or {}).get("name", "")) != name:
                raise errors.wrong_name(given, name)
            check_patched(resource, new)
            check_uid(resource, new, old)
            own = _own(resource, new)
            return self._writer.replace(
                resource, own, old, subresource=subresource, dry_run=dry_run
            )

    async def delete(
        self,
        plural: str,
        namespace: str,
        name: str,
        options: DeleteOptions = DeleteOptions(),
        *,
        user: str = SYSTEM,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object, or mark it for deletion, and return its last state.

        A pod on a node stays until its kubelet deletes it with ``grace_seconds`` 0. An object with
        finalizers stays until they are removed.

        Raises:
            ApiError: 404; 409 if a precondition is not met.
        """
        resource = BY_PLURAL[plural]
        with self.audit.entry("delete", plural, namespace, name, user, dry_run=dry_run):
            old = self.get(plural, namespace, name)
            deleted, _ = self._writer.delete(resource, old, options, dry_run=dry_run)
            return deleted

    async def evict(
        self,
        namespace: str,
        name: str,
        options: DeleteOptions = DeleteOptions(),
        *,
        user: str = SYSTEM,
        dry_run: bool = False,
        body: Object | None = None,
    ) -> None:
        """Delete a pod if its PodDisruptionBudget allows it; ``body`` goes into the audit log.

        Raises:
            ApiError: 404; 409 if a precondition is not met; 429 if the budget does not allow the
                eviction now; 500 if several budgets select the pod.
        """
        resource = BY_PLURAL["pods"]
        with self.audit.entry(
            "create", "pods", namespace, name, user,
            subresource="eviction", code=201, dry_run=dry_run,
        ) as entry:  # fmt: skip
            entry.request = body
            self.admit_eviction(name)
            pod = self.get("pods", namespace, name)
            now = self._writer.now()
            # As in kube-apiserver, the budget is decremented before the preconditions are checked,
            # and for a pod that is not ready the current version replaces the requested one.
            needs_budget = not eviction.needs_no_budget(pod)
            if needs_budget and eviction.decrement_budget(self.store, pod, now, dry_run=dry_run):
                options = replace(options, resource_version=pod["metadata"]["resourceVersion"])
            check_preconditions(resource, pod, options)
            marked = eviction.with_disruption_target(pod, now)
            if not dry_run and marked != pod:
                pod = self.store.put("pods", marked)
            checked = DeleteOptions(grace_seconds=options.grace_seconds)
            self._writer.delete(resource, pod, checked, dry_run=dry_run)

    def bind(self, namespace: str, name: str, node: str, *, user: str = "") -> Object:
        """Bind a pod to a node, and set condition PodScheduled.

        Raises:
            ApiError: 404; 409 if the pod is bound or is being deleted.
        """
        user = user or "system:kube-scheduler"
        with self.audit.entry(
            "create", "pods", namespace, name, user, subresource="binding", code=201
        ):
            pod = self.get("pods", namespace, name)
            bound = (pod.get("spec") or {}).get("nodeName")
            if pod["metadata"].get("deletionTimestamp"):
                why = f"pod {name} is being deleted, cannot be assigned to a host"
                raise errors.conflict(_BINDING, name, why)
            if bound:
                why = f'pod {name} is already assigned to node "{bound}"'
                raise errors.conflict(_BINDING, name, why)
            at = self._writer.now()
            scheduled: Object = {"type": "PodScheduled", "status": "True"}
            scheduled |= {"lastProbeTime": None, "lastTransitionTime": at}
            status = dict(pod.get("status") or {})
            drop(status, "PodScheduled")
            conditions = [*(status.get("conditions") or ()), scheduled]
            changed = {
                **pod,
                "spec": {**pod["spec"], "nodeName": node},
                "status": {**status, "conditions": conditions},
            }
            return self.store.put("pods", changed)

    def set_status(
        self,
        plural: str,
        namespace: str,
        name: str,
        change: Callable[[Object], None],
        *,
        user: str = SYSTEM,
    ) -> Object:
        """Change the status of an object and return the stored object; for controllers.

        ``change`` gets a copy of the object with a ``status``; its other changes are discarded.
        Nothing is written if the status stays the same.

        Raises:
            ApiError: 404, the object does not exist.
        """
        old = self.get(plural, namespace, name)
        status = old.get("status")
        copy = {**old, "status": deep_copy(status or {})}
        change(copy)
        fill_condition_times(plural, copy)
        if copy["status"] == (status or {}):
            return old
        with self.audit.entry("update", plural, namespace, name, user, subresource="status"):
            return self.store.put(plural, {**old, "status": copy["status"]})

    async def _create(self, resource: Resource, obj: Object, entry: AuditEntry) -> Object:
        namespace = obj["metadata"].get("namespace", "")
        self._check_namespace(resource, namespace, obj)
        if resource.plural in ("pods", "nodes"):
            set_defaults(resource.plural, obj)
            run_admission_plugins(resource.plural, obj)
        if resource.plural == "pods":
            obj.pop("status", None)
            for field in ("uid", "creationTimestamp"):
                obj["metadata"].pop(field, None)
            request = AdmissionRequest(
                resource=resource,
                obj={
                    "kind": resource.kind,
                    "apiVersion": resource.api_version,
                    **obj,
                    "status": {},
                },
                namespace=namespace,
                user=entry.user,
                dry_run=entry.dry_run,
            )
            try:
                await self._admission.admit(request)
            finally:
                entry.annotations |= request.annotations
            obj = request.obj
            self._check_namespace(resource, namespace, obj)  # it may have changed meanwhile
        return self._writer.create(resource, obj, dry_run=entry.dry_run)

    def _check_namespace(self, resource: Resource, namespace: str, obj: Object) -> None:
        if not resource.namespaced:
            return
        found = self.store.get("namespaces", "", namespace)
        if found is None:
            raise errors.not_found(BY_PLURAL["namespaces"], namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = (
                "unable to create new content in namespace "
                f"{namespace} because it is being terminated"
            )
            message = f"namespace {namespace} is being terminated"
            cause = errors.Cause("NamespaceTerminating", message, "metadata.namespace")
            raise errors.forbidden(resource, obj["metadata"].get("name", ""), why, [cause])


def _own(resource: Resource, obj: Object) -> Object:
    """A copy that the server may change, with the kind and scope of the resource."""
    copy: Object = deep_copy(obj)
    copy["kind"], copy["apiVersion"] = resource.kind, resource.api_version
    if not resource.namespaced:
        copy["metadata"].pop("namespace", None)
    return copy
