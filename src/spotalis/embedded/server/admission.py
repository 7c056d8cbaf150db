"""Mutating webhooks, called as their configurations say (admission.k8s.io/v1).

Left out: ``matchPolicy: Equivalent`` across versions (every kind has one version here), operations
other than CREATE of pods, and validating webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.server import errors, match_conditions
from spotalis.embedded.server.defaults import set_defaults
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.patches import PatchFailed, json_patch
from spotalis.embedded.server.query_selectors import from_object
from spotalis.embedded.store import ObjectStore

WebhookCaller = Callable[[Mapping[str, Any], bytes, float], Awaitable[bytes]]
"""(``clientConfig``, body of the request, seconds) -> body of the answer.

It raises WebhookFailed, TimeoutError or OSError when no good answer comes.
"""
_CONFIGURATIONS = "mutatingwebhookconfigurations"


class WebhookFailed(Exception):
    """No answer, or none with status 200."""


@dataclass(slots=True, kw_only=True)
class Review:
    """One request on its way through admission."""

    resource: Resource
    obj: Object
    """Changed by replacing it."""
    namespace: str
    user: str
    operation: str = "CREATE"
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log, by ``webhook name/key``."""


class Admission:
    """Calls the webhooks that are configured in a store."""

    def __init__(
        self, store: ObjectStore, caller: WebhookCaller | None, new_uid: Callable[[], str]
    ) -> None:
        """Without a caller every call fails, as with a server that is away."""
        self._store = store
        self._caller = caller
        self._new_uid = new_uid

    async def admit(self, review: Review) -> None:
        """Let every webhook that is meant look at the object, and again if another changed it.

        Raises:
            ApiError: a webhook refuses, or fails and its policy is ``Fail``.
        """
        called: dict[str, Object] = {}
        for name, webhook in self._webhooks():
            if await self._visit(review, webhook):
                called[name] = review.obj
        for name, webhook in self._webhooks() if len(called) > 1 else ():
            again = webhook.get("reinvocationPolicy") == "IfNeeded"
            if again and name in called and called[name] != review.obj:
                await self._visit(review, webhook)

    def _webhooks(self) -> Iterator[tuple[str, Object]]:
        """Every webhook with a name of its own, in the order in which they are called."""
        for configuration in self._store.list(_CONFIGURATIONS):
            for webhook in configuration.get("webhooks") or ():
                yield f"{configuration['metadata']['name']}/{webhook['name']}", webhook

    async def _visit(self, review: Review, webhook: Object) -> bool:
        """Call a webhook if it is meant; whether it was."""
        if not self._is_meant(review, webhook):
            return False
        try:
            response = await self._call(review, webhook)
        except WebhookFailed as failed:
            if webhook.get("failurePolicy", "Fail") == "Ignore":
                key = f"failed-open.mutation.webhook.admission.k8s.io/{webhook['name']}"
                review.annotations[key] = str(failed)
                return True
            message = f'failed calling webhook "{webhook["name"]}": {failed}'
            raise errors.internal(message) from None
        for key, value in (response.get("auditAnnotations") or {}).items():
            review.annotations[f"{webhook['name']}/{key}"] = value
        review.warnings += response.get("warnings") or ()
        if not response.get("allowed"):
            raise _denied(webhook["name"], response.get("status") or response.get("result") or {})
        if response.get("patch"):
            self._patch(review, response["patch"])
        return True

    def _is_meant(self, review: Review, webhook: Object) -> bool:
        if not any(_rule_matches(rule, review) for rule in webhook.get("rules") or ()):
            return False
        if not self._selects_namespace(review, webhook.get("namespaceSelector") or {}):
            return False
        selector = from_object(webhook.get("objectSelector") or {})
        labels = review.obj["metadata"].get("labels") or {}
        if selector is not None and not selector.matches(labels):
            return False
        return _conditions_hold(webhook, review)

    def _selects_namespace(self, review: Review, selector: Object) -> bool:
        if not review.namespace:
            return True
        namespace = self._store.get("namespaces", "", review.namespace) or {"metadata": {}}
        found = from_object(selector)
        return found is None or found.matches(namespace["metadata"].get("labels") or {})

    async def _call(self, review: Review, webhook: Object) -> Object:
        """The ``response`` of a webhook's answer.

        Raises:
            WebhookFailed: no answer in time, or not a valid one.
            ApiError: it must not be called in a dry run.
        """
        side_effects = webhook.get("sideEffects")
        if review.dry_run and side_effects not in ("None", "NoneOnDryRun"):
            message = f'admission webhook "{webhook["name"]}" does not support dry run'
            raise errors.bad_request(message)
        if self._caller is None:
            raise WebhookFailed("failed to call webhook: this API server reaches no webhooks")
        uid = self._new_uid()
        body = msgspec.json.encode({**_HEAD, "request": _request(review, uid)})
        seconds = float(webhook.get("timeoutSeconds") or 10)
        config = webhook.get("clientConfig") or {}
        post = f'failed to call webhook: Post "{config.get("url", "")}?timeout={seconds:g}s": '
        try:
            async with asyncio.timeout(seconds):
                answer = await self._caller(config, body, seconds)
        except TimeoutError:
            raise WebhookFailed(f"{post}context deadline exceeded") from None
        except OSError as failed:
            raise WebhookFailed(f"{post}{failed}") from None
        except WebhookFailed as failed:
            raise WebhookFailed(f"failed to call webhook: {failed}") from None
        return _verified(answer, uid)

    @staticmethod
    def _patch(review: Review, encoded: str) -> None:
        try:
            operations = msgspec.json.decode(base64.b64decode(encoded, validate=True))
            changed = json_patch(review.obj, operations)
        except (PatchFailed, msgspec.DecodeError, binascii.Error, TypeError) as failed:
            raise errors.internal(str(failed)) from None
        set_defaults(review.resource.plural, changed)
        if changed != review.obj:
            review.obj = changed


def _rule_matches(rule: Object, review: Review) -> bool:
    resource = review.resource
    scope = rule.get("scope") or "*"
    return (
        _among(rule.get("operations"), review.operation)
        and _among(rule.get("apiGroups"), resource.group)
        and _among(rule.get("apiVersions"), resource.version)
        and any(
            one in ("*", "*/*", resource.plural) or one == f"{resource.plural}/*"
            for one in rule.get("resources") or ()
        )
        and (scope == "*" or (scope == "Namespaced") == resource.namespaced)
    )


def _among(wanted: list[str] | None, value: str) -> bool:
    return any(one in ("*", value) for one in wanted or ())


def _conditions_hold(webhook: Object, review: Review) -> bool:
    """Whether all match conditions are true; one that fails counts as the failure policy says."""
    variables = {"object": review.obj, "oldObject": None, "request": _request(review, "")}
    failed = []
    for condition in webhook.get("matchConditions") or ():
        try:
            if match_conditions.compiled(condition["expression"])(variables) is not True:
                return False
        except match_conditions.EvaluationFailed as failure:
            expression = condition["expression"]
            failed.append(f"expression '{expression}' resulted in error: {failure}")
        except match_conditions.UnsupportedExpression as unsupported:
            raise errors.internal(f'webhook "{webhook["name"]}": {unsupported}') from None
    if failed and webhook.get("failurePolicy", "Fail") == "Fail":
        raise errors.forbidden(review.resource, _name(review.obj), failed[0])
    return not failed


_HEAD = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}


def _request(review: Review, uid: str) -> Object:
    """``request`` of an AdmissionReview, as the API server writes it."""
    resource = review.resource
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    served = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request: Object = {
        "uid": uid,
        "kind": kind,
        "resource": served,
        "requestKind": kind,
        "requestResource": served,
    }
    if _name(review.obj):
        request["name"] = _name(review.obj)
    if review.namespace:
        request["namespace"] = review.namespace
    options: Object = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
    if review.dry_run:
        options["dryRun"] = ["All"]
    return {
        **request,
        "operation": review.operation,
        "userInfo": {"username": review.user, "groups": groups_of(review.user)},
        "object": review.obj,
        "oldObject": None,
        "dryRun": review.dry_run,
        "options": options,
    }


def groups_of(user: str) -> list[str]:
    """The groups that a user name stands for."""
    parts = user.split(":")
    if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
        accounts = "system:serviceaccounts"
        return [accounts, f"{accounts}:{parts[2]}", "system:authenticated"]
    return ["system:authenticated"]


def _name(obj: Object) -> str:
    name: str = obj["metadata"].get("name", "")
    return name


def _verified(answer: bytes, uid: str) -> Object:
    """The response in an answer.

    Raises:
        WebhookFailed: it is not an answer to this request.
    """
    try:
        review = msgspec.json.decode(answer)
        response = review.get("response")
        if response is None:
            raise WebhookFailed("received invalid webhook response: webhook response was absent")
        identified = {key: review.get(key) for key in _HEAD}, response.get("uid")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        raise WebhookFailed("received invalid webhook response: it is no AdmissionReview") from None
    if identified[1] != uid:
        why = f'expected response.uid="{uid}", got "{identified[1] or ""}"'
        raise WebhookFailed(f"received invalid webhook response: {why}")
    if identified[0] != _HEAD:
        raise WebhookFailed(f"received invalid webhook response: expected {_HEAD}")
    if response.get("patch") and response.get("patchType") != "JSONPatch":
        why = "webhook returned response.patch but not response.patchType"
        raise WebhookFailed(f"received invalid webhook response: {why}")
    found: Object = response
    return found


def _denied(name: str, result: Object) -> ApiError:
    said = result.get("message") or result.get("reason") or ""
    refused = f'admission webhook "{name}" denied the request'
    message = f"{refused}: {said}" if said else f"{refused} without explanation"
    return ApiError(max(400, int(result.get("code") or 400)), result.get("reason") or "", message)
