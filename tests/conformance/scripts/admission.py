"""Mutating webhooks: which are called, the requests they get, and the effect of their responses."""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import a_pod
from tests.conformance.session import Session


def _webhook(s: Session, behavior: str, number: int = 0, **more: Any) -> Json:
    """A webhook for pods with label ``app`` in the namespace of the script."""
    own = {"matchLabels": {"kubernetes.io/metadata.name": s.namespace}}
    rule = {
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
    }  # fmt: skip
    return {
        "name": f"{behavior}-{number}.conformance.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
        "clientConfig": s.webhook(behavior),
        "namespaceSelector": own,
        "objectSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
        "rules": [rule],
        **more,
    }


class _Registration:
    """Registers configurations one after the other, and waits until each is in effect."""

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
        await s.wait_for_webhook(f"meter/{s.namespace}/{self._times}")


async def _create_pod(s: Session, name: str = "pod", **metadata: Any) -> None:
    """Create a pod, and delete it."""
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


async def requests_to_webhooks(s: Session) -> None:
    register = _Registration(s)
    await register(_webhook(s, "allow"))
    await _create_pod(s)
    await s.post("pods", a_pod("tried"), dryRun="All")
    unnamed = a_pod("", generateName="pod-")
    del unnamed["metadata"]["name"]
    await s.quiet.post("pods", unnamed)
    s.note("requests", s.admission_requests())


async def webhooks_that_fail(s: Session) -> None:
    register = _Registration(s)
    for behavior in ("broken", "nonsense", "another-uid", "nowhere", "bad-patch", "no-patch-type",
                "slow"):  # fmt: skip
        for number, policy in enumerate(("Fail", "Ignore")):
            await register(_webhook(s, behavior, number, failurePolicy=policy))
            await _create_pod(s, f"{behavior}-{policy.lower()}")


async def webhooks_that_deny(s: Session) -> None:
    register = _Registration(s)
    for number, behavior in enumerate(("deny", "deny-why", "deny-plain")):
        await register(_webhook(s, behavior, number, failurePolicy="Ignore"))
        await _create_pod(s)


async def reinvocation(s: Session) -> None:
    register = _Registration(s)
    for number, policy in enumerate(("Never", "IfNeeded")):
        first = _webhook(s, "counts", number, reinvocationPolicy=policy)
        await register(first, _webhook(s, "labels"))
        await _create_pod(s)
        await register(first, _webhook(s, "allow"))
        await _create_pod(s)
    first = _webhook(s, "counts", 0, reinvocationPolicy="IfNeeded")
    second = _webhook(s, "counts", 1, reinvocationPolicy="IfNeeded")
    await register(first, second)
    await _create_pod(s)
    s.note("calls", [one["webhook"] for one in s.admission_requests()])


async def match_conditions(s: Session) -> None:
    register = _Registration(s)

    async def conditions(*expressions: str, policy: str = "Fail") -> None:
        named = [{"name": f"c{at}", "expression": e} for at, e in enumerate(expressions)]
        await register(_webhook(s, "counts", matchConditions=named, failurePolicy=policy))
        await _create_pod(s)

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
    await _create_pod(s, "owned", ownerReferences=[{**owner, "controller": True}])
    await _create_pod(s, "held", ownerReferences=[owner])


async def selectors(s: Session) -> None:
    register = _Registration(s)
    exists = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    other = {"matchLabels": {"app": "other"}}
    await register(_webhook(s, "counts", objectSelector=other))
    await _create_pod(s)
    await _create_pod(s, labels={"app": "other"})
    name = "kubernetes.io/metadata.name"
    away = {"matchExpressions": [{"key": name, "operator": "NotIn", "values": [s.namespace]}]}
    await register(_webhook(s, "counts", namespaceSelector=away, objectSelector=exists))
    await _create_pod(s)
    here = {
        "matchLabels": {name: s.namespace},
        "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}],
    }
    await register(_webhook(s, "counts", namespaceSelector=here))
    await _create_pod(s)


async def webhooks_with_side_effects(s: Session) -> None:
    register = _Registration(s)
    await register(_webhook(s, "counts", sideEffects="NoneOnDryRun"))
    await s.post("pods", a_pod("tried"), dryRun="All")


SCRIPTS = (
    a_configuration,
    requests_to_webhooks,
    webhooks_that_fail,
    webhooks_that_deny,
    reinvocation,
    match_conditions,
    selectors,
    webhooks_with_side_effects,
)
