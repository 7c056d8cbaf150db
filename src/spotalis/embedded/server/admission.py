"""Calls mutating webhooks for the creation of pods (admission.k8s.io/v1).

Left out: ``matchPolicy: Equivalent`` (every kind has one version), other operations and kinds,
warnings, and validating webhooks.
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
from spotalis.embedded.objects.selectors import label_selector
from spotalis.embedded.server import errors, match_conditions
from spotalis.embedded.server.defaults import set_defaults
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.patches import PatchFailed, json_patch
from spotalis.embedded.store import ObjectStore

WebhookCaller = Callable[[Mapping[str, Any], bytes, float], Awaitable[bytes]]
"""(``clientConfig``, request body, timeout in seconds) -> response body.

Raises WebhookFailed, TimeoutError or OSError unless a response with status 200 arrives.
"""
_CONFIGURATIONS = "mutatingwebhookconfigurations"
_OPERATION = "CREATE"


class WebhookFailed(Exception):
    """A webhook could not be called, or its response is not valid."""


@dataclass(slots=True, kw_only=True)
class AdmissionRequest:
    """One request during admission."""

    resource: Resource
    obj: Object
    """Replaced, not changed, by webhooks."""
    namespace: str
    user: str
    dry_run: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    """Audit annotations, keyed by ``webhook name/key``."""


class Admission:
    """Calls the webhooks of the configurations in a store."""

    def __init__(
        self, store: ObjectStore, caller: WebhookCaller | None, new_uid: Callable[[], str]
    ) -> None:
        """Without a caller every call fails, as if the webhook server were down."""
        self._store = store
        self._caller = caller
        self._new_uid = new_uid

    async def admit(self, request: AdmissionRequest) -> None:
        """Call every matching webhook, and call it again if its reinvocation policy requires it.

        Raises:
            ApiError: a webhook denies the request, or fails with failure policy ``Fail``.
        """
        called: dict[str, Object] = {}
        for name, webhook in self._webhooks():
            if await self._call_if_matching(request, webhook):
                called[name] = request.obj
        for name, webhook in self._webhooks() if len(called) > 1 else ():
            reinvoke = webhook.get("reinvocationPolicy") == "IfNeeded"
            if reinvoke and name in called and called[name] != request.obj:
                await self._call_if_matching(request, webhook)

    def _webhooks(self) -> Iterator[tuple[str, Object]]:
        """Every webhook with its qualified name, in calling order."""
        for configuration in self._store.list(_CONFIGURATIONS):
            for webhook in configuration.get("webhooks") or ():
                yield f"{configuration['metadata']['name']}/{webhook['name']}", webhook

    async def _call_if_matching(self, request: AdmissionRequest, webhook: Object) -> bool:
        """Call a webhook if it matches the request; returns whether it does."""
        if not self._matches(request, webhook):
            return False
        try:
            response = await self._call(request, webhook)
        except WebhookFailed as failed:
            if webhook.get("failurePolicy", "Fail") == "Ignore":
                key = f"failed-open.mutation.webhook.admission.k8s.io/{webhook['name']}"
                request.annotations[key] = str(failed)
                return True
            message = f'failed calling webhook "{webhook["name"]}": {failed}'
            raise errors.internal(message) from None
        for key, value in (response.get("auditAnnotations") or {}).items():
            request.annotations[f"{webhook['name']}/{key}"] = value
        if not response.get("allowed"):
            raise _denied(webhook["name"], response.get("status") or response.get("result") or {})
        if response.get("patch"):
            self._patch(request, response["patch"])
        return True

    def _matches(self, request: AdmissionRequest, webhook: Object) -> bool:
        if not any(_rule_matches(rule, request) for rule in webhook.get("rules") or ()):
            return False
        if not self._selects_namespace(request, webhook.get("namespaceSelector") or {}):
            return False
        selector = label_selector(webhook.get("objectSelector") or {})
        labels = request.obj["metadata"].get("labels") or {}
        if selector is not None and not selector.matches(labels):
            return False
        return _conditions_hold(webhook, request)

    def _selects_namespace(self, request: AdmissionRequest, selector: Object) -> bool:
        if not request.namespace:
            return True
        namespace = self._store.get("namespaces", "", request.namespace) or {"metadata": {}}
        found = label_selector(selector)
        return found is None or found.matches(namespace["metadata"].get("labels") or {})

    async def _call(self, request: AdmissionRequest, webhook: Object) -> Object:
        """Call a webhook and return the ``response`` of its AdmissionReview.

        Raises:
            WebhookFailed: the webhook did not send a valid response in time.
            ApiError: the webhook does not support dry runs.
        """
        side_effects = webhook.get("sideEffects")
        if request.dry_run and side_effects not in ("None", "NoneOnDryRun"):
            message = f'admission webhook "{webhook["name"]}" does not support dry run'
            raise errors.bad_request(message)
        if self._caller is None:
            raise WebhookFailed("failed to call webhook: this API server has no webhook caller")
        uid = self._new_uid()
        body = msgspec.json.encode({**_HEAD, "request": _request(request, uid)})
        seconds = float(webhook.get("timeoutSeconds") or 10)
        config = webhook.get("clientConfig") or {}
        post = f'failed to call webhook: Post "{config.get("url", "")}?timeout={seconds:g}s": '
        try:
            async with asyncio.timeout(seconds):
                content = await self._caller(config, body, seconds)
        except TimeoutError:
            raise WebhookFailed(f"{post}context deadline exceeded") from None
        except OSError as failed:
            raise WebhookFailed(f"{post}{failed}") from None
        except WebhookFailed as failed:
            raise WebhookFailed(f"failed to call webhook: {failed}") from None
        return _verified(content, uid)

    @staticmethod
    def _patch(request: AdmissionRequest, encoded: str) -> None:
        try:
            operations = msgspec.json.decode(base64.b64decode(encoded, validate=True))
            changed = json_patch(request.obj, operations)
        except (PatchFailed, msgspec.DecodeError, binascii.Error, TypeError) as failed:
            raise errors.internal(str(failed)) from None
        set_defaults(request.resource.plural, changed)
        if changed != request.obj:
            request.obj = changed


def _rule_matches(rule: Object, request: AdmissionRequest) -> bool:
    resource = request.resource
    scope = rule.get("scope") or "*"
    return (
        _among(rule.get("operations"), _OPERATION)
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


def _conditions_hold(webhook: Object, request: AdmissionRequest) -> bool:
    """Whether all match conditions are true; the failure policy decides about errors."""
    variables = {"object": request.obj, "oldObject": None, "request": _request(request, "")}
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
        raise errors.forbidden(request.resource, _name(request.obj), failed[0])
    return not failed


_HEAD = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}


def _request(request: AdmissionRequest, uid: str) -> Object:
    """The ``request`` of an AdmissionReview, as kube-apiserver writes it."""
    resource = request.resource
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    served = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    fields: Object = {
        "uid": uid,
        "kind": kind,
        "resource": served,
        "requestKind": kind,
        "requestResource": served,
    }
    if _name(request.obj):
        fields["name"] = _name(request.obj)
    if request.namespace:
        fields["namespace"] = request.namespace
    options: Object = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
    if request.dry_run:
        options["dryRun"] = ["All"]
    return {
        **fields,
        "operation": _OPERATION,
        "userInfo": {"username": request.user, "groups": groups_of(request.user)},
        "object": request.obj,
        "oldObject": None,
        "dryRun": request.dry_run,
        "options": options,
    }


def groups_of(user: str) -> list[str]:
    """The groups of a user, derived from its name."""
    parts = user.split(":")
    if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
        accounts = "system:serviceaccounts"
        return [accounts, f"{accounts}:{parts[2]}", "system:authenticated"]
    return ["system:authenticated"]


def _name(obj: Object) -> str:
    name: str = obj["metadata"].get("name", "")
    return name


def _verified(content: bytes, uid: str) -> Object:
    """Decode a response and check it as kube-apiserver does.

    Raises:
        WebhookFailed: it is not a valid response to this request.
    """
    try:
        review = msgspec.json.decode(content)
        response = review.get("response")
        if response is None:
            raise WebhookFailed("received invalid webhook response: webhook response was absent")
        identified = {key: review.get(key) for key in _HEAD}, response.get("uid")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        raise WebhookFailed(
            "received invalid webhook response: it is not an AdmissionReview"
        ) from None
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
    why = result.get("message") or result.get("reason") or ""
    denied = f'admission webhook "{name}" denied the request'
    message = f"{denied}: {why}" if why else f"{denied} without explanation"
    return ApiError(max(400, int(result.get("code") or 400)), result.get("reason") or "", message)
