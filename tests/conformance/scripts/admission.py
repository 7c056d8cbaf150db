"""Mutating webhooks: who is called, with what, and what becomes of the answer."""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import a_pod
from tests.conformance.session import Session


def _webhook(s: Session, how: str, number: int = 0, **more: Any) -> Json:
    """A webhook for pods of the script's namespace that carry the label ``app``."""
    own = {"matchLabels": {"kubernetes.io/metadata.name": s.namespace}}
    rule = {
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
    }  # fmt: skip
    return {
        "name": f"{how}-{number}.conformance.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
        "clientConfig": s.hook(how),
        "namespaceSelector": own,
        "objectSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
        "rules": [rule],
        **more,
    }


class _Registered:
    """Registers one configuration after the other, and waits until each is heeded."""

    def __init__(self, s: Session) -> None:
        self._s = s
        self._times = 0

    async def __call__(self, *webhooks: Json) -> None:
        s = self._s
        self._times += 1
        meter = _webhook(s, "meter", self._times, objectSelector={}, failurePolicy="Ignore")
        meter["clientConfig"]["url"] += f"/{self._times}"
        body = {"metadata": {"name": s.namespace}, "webhooks": [meter, *webhooks]}
        where = f"mutatingwebhookconfigurations/{s.namespace}"
        await s.quiet.delete(where)
        made = await s.quiet.post("mutatingwebhookconfigurations", body)
        assert made.status == 201, made.body
        await s.heeded(f"meter/{s.namespace}/{self._times}")


async def _created(s: Session, name: str = "pod", **metadata: Any) -> None:
    """Create a pod, and forget it."""
    await s.post("pods", a_pod(name, **metadata))
    await s.quiet.delete(f"pods/{name}", {"gracePeriodSeconds": 0})


async def a_configuration(s: Session) -> None:
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": s.namespace},
        "webhooks": [
            {
                "name": "pods.conformance.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": {"name": "x", "namespace": s.namespace}},
                "namespaceSelector": {"matchLabels": {"no": "such"}},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ],
            }
        ],
    }
    where = f"mutatingwebhookconfigurations/{s.namespace}"
    await s.post("mutatingwebhookconfigurations", body)
    bundle = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Zm9v"}]
    await s.patch(where, bundle, "application/json-patch+json", dryRun="All")
    await s.patch(where, {"metadata": {"labels": {"a": "b"}}})
    await s.delete(where)


async def what_a_webhook_is_asked(s: Session) -> None:
    register = _Registered(s)
    await register(_webhook(s, "allow"))
    await _created(s)
    await s.post("pods", a_pod("tried"), dryRun="All")
    unnamed = a_pod("", generateName="pod-")
    del unnamed["metadata"]["name"]
    await s.quiet.post("pods", unnamed)
    s.note("reviews", s.reviews())


async def webhooks_that_fail(s: Session) -> None:
    register = _Registered(s)
    for how in ("broken", "nonsense", "another-uid", "nowhere", "bad-patch", "no-patch-type",
                "slow"):  # fmt: skip
        for number, policy in enumerate(("Fail", "Ignore")):
            await register(_webhook(s, how, number, failurePolicy=policy))
            await _created(s, f"{how}-{policy.lower()}")


async def webhooks_that_deny(s: Session) -> None:
    register = _Registered(s)
    for number, how in enumerate(("deny", "deny-why", "deny-plain")):
        await register(_webhook(s, how, number, failurePolicy="Ignore"))
        await _created(s)


async def webhooks_that_warn(s: Session) -> None:
    register = _Registered(s)
    await register(_webhook(s, "warn"), _webhook(s, "labels"))
    await _created(s)
    await s.post("configmaps", {"metadata": {"name": "other", "labels": {"app": "web"}}})


async def reinvocation(s: Session) -> None:
    register = _Registered(s)
    for number, policy in enumerate(("Never", "IfNeeded")):
        first = _webhook(s, "counts", number, reinvocationPolicy=policy)
        await register(first, _webhook(s, "labels"))
        await _created(s)
        await register(first, _webhook(s, "allow"))
        await _created(s)
    first = _webhook(s, "counts", 0, reinvocationPolicy="IfNeeded")
    second = _webhook(s, "counts", 1, reinvocationPolicy="IfNeeded")
    await register(first, second)
    await _created(s)
    s.note("calls", [one["hook"] for one in s.reviews()])


async def match_conditions(s: Session) -> None:
    register = _Registered(s)

    async def conditions(*expressions: str, policy: str = "Fail") -> None:
        named = [{"name": f"c{at}", "expression": e} for at, e in enumerate(expressions)]
        await register(_webhook(s, "counts", matchConditions=named, failurePolicy=policy))
        await _created(s)

    await conditions("object.metadata.name == 'pod'")
    await conditions("object.metadata.name != 'pod'")
    await conditions("has(object.metadata.labels) && 'app' in object.metadata.labels")
    await conditions("true", "false")
    await conditions("request.namespace == 'other' || request.operation == 'CREATE'")
    await conditions("object.metadata.annotations['missing'] == 'x'")
    await conditions("object.metadata.annotations['missing'] == 'x'", policy="Ignore")
    await conditions("object.metadata.annotations['missing'] == 'x'", "false")
    owned = (
        "has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, "
        "has(o.controller) && o.controller && o.kind in ['ReplicaSet', 'StatefulSet'])"
    )
    await conditions(owned)
    await conditions(f"!({owned})")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "u"}
    await register(_webhook(s, "counts", matchConditions=[{"name": "c", "expression": owned}]))
    await _created(s, "owned", ownerReferences=[{**owner, "controller": True}])
    await _created(s, "held", ownerReferences=[owner])


async def selectors(s: Session) -> None:
    register = _Registered(s)
    exists = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    other = {"matchLabels": {"app": "other"}}
    await register(_webhook(s, "counts", objectSelector=other))
    await _created(s)
    await _created(s, labels={"app": "other"})
    name = "kubernetes.io/metadata.name"
    away = {"matchExpressions": [{"key": name, "operator": "NotIn", "values": [s.namespace]}]}
    await register(_webhook(s, "counts", namespaceSelector=away, objectSelector=exists))
    await _created(s)
    here = {
        "matchLabels": {name: s.namespace},
        "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}],
    }
    await register(_webhook(s, "counts", namespaceSelector=here))
    await _created(s)


async def webhooks_with_side_effects(s: Session) -> None:
    register = _Registered(s)
    await register(_webhook(s, "counts", sideEffects="NoneOnDryRun"))
    await s.post("pods", a_pod("tried"), dryRun="All")


SCRIPTS = (
    a_configuration,
    what_a_webhook_is_asked,
    webhooks_that_fail,
    webhooks_that_deny,
    webhooks_that_warn,
    reinvocation,
    match_conditions,
    selectors,
    webhooks_with_side_effects,
)
