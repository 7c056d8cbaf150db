"""``/mutate`` as a whole, against any review and any bytes (safety.md D.2, S6; row 50).

A served webhook, with the operator and an embedded cluster behind it: pods of every shape that
the API lets through, reviews that are damaged in one place, and bytes that are no review at all.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
import logging
import random  # noqa: TID251  # seeded
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spotalis.app.clock import SystemClock
from spotalis.app.operator import Operator
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.nodes import EKS, GKE, Provider, make_node
from spotalis.embedded.server.patches import json_patch
from spotalis.model.controller_configuration import ControllerConfiguration, LeaderElection
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Owner
from spotalis.planner.observed import Reservation
from spotalis.webhook.admission_review import MAX_VALUES
from spotalis.webhook.server import WebhookServer
from tests.support.cluster import NO_POLICY, policy, workload_body
from tests.support.http_caller import Caller, Reply

Json = Any
REVIEW_HEAD = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
OURS = ("spotalis.io/capacity-type", "spotalis.io/slot", "spotalis.io/decision")
COST = "controller.kubernetes.io/pod-deletion-cost"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
ALLOWED = {
    "/metadata/labels",
    "/metadata/annotations",
    "/spec/nodeSelector",
    "/spec/affinity",
    "/spec/affinity/nodeAffinity",
    f"/spec/affinity/nodeAffinity/{REQUIRED}",
    "/spec/tolerations",
    "/spec/tolerations/-",
    "/metadata/labels/spotalis.io~1capacity-type",
    "/metadata/annotations/spotalis.io~1slot",
    "/metadata/annotations/spotalis.io~1decision",
    "/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost",
}
"""JSON pointers that a patch may name; below nodeSelector, one of a provider's labels."""
WANTED = 10
"""Replicas of each workload; none of them is there."""
PROVIDERS: tuple[Provider, ...] = (GKE, EKS)
NODES = [
    (node_type, provider.labels(node_type) | {"disk": disk})
    for provider in PROVIDERS
    for node_type in (NodeType.SPOT, NodeType.ON_DEMAND)
    for disk in ("ssd", "hdd")
]


class Stage:
    """A served webhook; requests go over one kept-alive connection."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.owners: dict[str, Json] = {}
        self.cluster = EmbeddedCluster(clock=SystemClock(), rng=random.Random(5))

    async def start(self) -> None:
        cluster = self.cluster
        await cluster.start()
        for name in ("shop", "spotalis-system"):
            await cluster.api.create("namespaces", {"metadata": {"name": name}})
        for number, (node_type, labels) in enumerate(NODES):
            await cluster.fleet.register(make_node(f"{node_type}-{number}", labels=labels))
        configured = ControllerConfiguration(leader_election=LeaderElection(enabled=False))
        clock = SystemClock()
        self.operator = Operator(
            cluster.transport("operator"), settings=configured, clock=clock, rng=random.Random(6)
        )
        self._running = asyncio.create_task(self.operator.run())
        await self.operator.synced.wait()
        # The pods' makers exist, and nobody makes their pods: every place is free.
        await cluster.stop_controller("replicaset")
        await cluster.stop_controller("statefulset")
        for kind, name, namespace, percent in (
            ("Deployment", "api", "shop", 70),
            ("StatefulSet", "db", "shop", 50),
            ("Deployment", "plain", "shop", None),
            ("Deployment", "dns", "kube-system", 70),
        ):
            annotations = NO_POLICY if percent is None else policy(percent, 1)
            body = workload_body(kind, name, WANTED, annotations)
            body["metadata"]["namespace"] = namespace
            await cluster.api.create(f"{kind.lower()}s", body)
        async with asyncio.timeout(60):
            while len(makers := self._makers()) < 4 or not all(
                self.operator.cluster.find_owner(
                    one["metadata"]["namespace"], _owner(one["kind"], one["metadata"])
                )
                for one in makers
            ):
                await asyncio.sleep(0.01)
        for one in makers:
            self.owners[one["metadata"]["name"].split("-")[0]] = one
        self._server = WebhookServer(self.operator.admission.handle, clock=clock)
        port = await self._server.start("127.0.0.1", 0, None)
        self._caller = Caller(port)
        await self._caller.__aenter__()
        await self.post(b"{}")  # a caller that asks nothing for 10 s is cut off

    async def stop(self) -> None:
        await self._caller.__aexit__(None, None, None)
        await self._server.stop(1)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.cluster.stop()

    def _makers(self) -> list[Json]:
        sets = [one | {"kind": "ReplicaSet"} for one in self.cluster.store.list("replicasets")]
        return sets + [
            one | {"kind": "StatefulSet"} for one in self.cluster.store.list("statefulsets")
        ]

    def review(self, who: str, pod: Json, **fields: Json) -> Json:
        """A review of a new pod of this maker."""
        maker = self.owners[who]
        metadata = maker["metadata"]
        reference = {"apiVersion": "apps/v1", "kind": maker["kind"], "controller": True}
        reference |= {"name": metadata["name"], "uid": metadata["uid"]}
        pod = copy.deepcopy(pod)
        pod["metadata"] = {**pod["metadata"], "ownerReferences": [reference]}
        request = {
            "uid": f"review-{next(self._numbers)}",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": metadata["namespace"],
            "object": pod,
        }
        return REVIEW_HEAD | {"request": request | fields}

    def reserved(self, who: str) -> tuple[Reservation, ...]:
        """The places taken by pods that nobody has seen yet."""
        return self.operator._reservations.of(self.owners[who]["metadata"]["uid"])

    def forget(self, who: str) -> None:
        """All places are free again."""
        self.operator._reservations.trim(self.owners[who]["metadata"]["uid"], 0)

    async def post(self, body: bytes) -> Reply:
        return await self._caller.ask("POST", "/mutate", body)


def _owner(kind: str, metadata: Json) -> Owner:
    return Owner("apps", kind, metadata["name"], metadata["uid"])


class Served:
    """A stage on a loop of its own, for tests that hypothesis calls."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stage = Stage()
        self.runner.run(self.stage.start())

    def post(self, body: bytes) -> Reply:
        return self.runner.run(self.stage.post(body))

    def mutated(self, review: Json) -> tuple[Json, list[Json], str]:
        """The pod as it is afterwards, the patch, and the decision; always allowed."""
        reply = self.post(json.dumps(review).encode())
        assert reply.status == 200, reply.body
        answer = reply.json()
        assert {key: answer[key] for key in REVIEW_HEAD} == REVIEW_HEAD
        response = answer["response"]
        assert (response["uid"], response["allowed"]) == (review["request"]["uid"], True)
        patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
        before = copy.deepcopy(review["request"]["object"])
        return json_patch(before, patch), patch, response["auditAnnotations"]["decision"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    it = Served()
    yield it
    it.runner.run(it.stage.stop())
    it.runner.close()


# -- pods ------------------------------------------------------------------------------------------

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
keys = st.sampled_from(["app", "a~b/c", "disk", COST, *OURS]) | texts
maps = st.none() | st.dictionaries(keys, texts, max_size=5)
label_keys = st.sampled_from(
    ["disk", "cloud.google.com/gke-spot", "eks.amazonaws.com/capacityType", "absent"]
)
label_values = st.sampled_from(["ssd", "hdd", "true", "SPOT", "ON_DEMAND"])
expressions = st.one_of(
    st.fixed_dictionaries(
        {
            "key": label_keys,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(label_values, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {"key": label_keys, "operator": st.sampled_from(["Exists", "DoesNotExist"])}
    ),
)
terms = st.fixed_dictionaries(
    {}, optional={"matchExpressions": st.lists(expressions, max_size=3) | st.none()}
)
node_affinities = st.fixed_dictionaries(
    {},
    optional={
        REQUIRED: st.none()
        | st.fixed_dictionaries({"nodeSelectorTerms": st.lists(terms, min_size=1, max_size=3)}),
        "preferredDuringSchedulingIgnoredDuringExecution": st.just([{"weight": 1}]),
    },
)
affinities = st.fixed_dictionaries(
    {}, optional={"nodeAffinity": node_affinities | st.none(), "podAffinity": st.just({"x": [1]})}
)
tolerations = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["cloud.google.com/gke-spot", "dedicated"]),
        "operator": st.sampled_from(["Exists", "Equal"]),
        "value": st.sampled_from(["true", "x"]),
        "effect": st.sampled_from(["NoSchedule", "NoExecute"]),
    },
)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({}, optional={"labels": maps, "annotations": maps}),
        "spec": st.fixed_dictionaries(
            {"containers": st.just([{"name": "app"}])},
            optional={
                "nodeSelector": st.none() | st.dictionaries(label_keys, label_values, max_size=2),
                "affinity": st.none() | affinities,
                "tolerations": st.none() | st.lists(tolerations, max_size=3),
            },
        ),
    }
)
makers = st.sampled_from(["api", "db"])


def _fits(labels: Mapping[str, str], expression: Json) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case _:
            return value is None


def may_land(pod: Json, labels: Mapping[str, str]) -> bool:
    """Whether selector and required affinity let a pod onto a node; an empty term matches none."""
    spec = pod["spec"]
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    if not required:
        return True
    return any(
        term.get("matchExpressions")
        and all(_fits(labels, expression) for expression in term["matchExpressions"])
        for term in required["nodeSelectorTerms"]
    )


def without(metadata: Json, part: str) -> dict[str, str]:
    """Labels or annotations that are not ours to write."""
    held = metadata.get(part) or {}
    return {key: value for key, value in held.items() if key not in (*OURS, COST)}


@given(who=makers, pod=pods, dry=st.booleans())
def test_a_patch_only_adds_and_only_where_it_may(
    served: Served, who: str, pod: Json, dry: bool
) -> None:
    review = served.stage.review(who, pod, dryRun=dry)
    before = review["request"]["object"]
    after, patch, decision = served.mutated(review)
    assert decision in ("spot", "on-demand", "placed-already")
    labels = {key for _, node in NODES for key in node}
    for operation in patch:
        assert operation["op"] == "add"
        path = operation["path"]
        if path not in ALLOWED:
            parent, _, key = path.rpartition("/")
            assert parent == "/spec/nodeSelector"
            assert key.replace("~1", "/").replace("~0", "~") in labels
    for part in ("labels", "annotations"):
        assert without(after["metadata"], part) == without(before["metadata"], part)
    cost = (before["metadata"].get("annotations") or {}).get(COST)
    assert cost is None or after["metadata"]["annotations"][COST] == cost
    held = before["spec"].get("tolerations") or []
    assert (after["spec"].get("tolerations") or [])[: len(held)] == held
    others = ("nodeSelector", "tolerations", "affinity")
    for spec in (before["spec"], after["spec"]):
        assert {k: v for k, v in spec.items() if k not in others} == {
            "containers": [{"name": "app"}]
        }
    theirs, ours = (copy.deepcopy(one["spec"].get("affinity") or {}) for one in (before, after))
    for one in (theirs, ours):
        node = one.pop("nodeAffinity", None) or {}
        one["rest"] = {key: value for key, value in node.items() if key != REQUIRED}
    assert theirs == ours


@given(who=makers, pod=pods)
def test_no_pod_may_land_where_it_might_not_before_and_tolerations_come_with_a_pin_to_spot(
    served: Served, who: str, pod: Json
) -> None:
    review = served.stage.review(who, pod, dryRun=True)
    before = review["request"]["object"]
    after, patch, _ = served.mutated(review)
    for _, labels in NODES:
        assert may_land(before, labels) or not may_land(after, labels)
    if any(operation["path"].startswith("/spec/tolerations") for operation in patch):
        lands = {node_type for node_type, labels in NODES if may_land(after, labels)}
        assert NodeType.ON_DEMAND not in lands


@given(who=makers, pod=pods)
def test_a_second_review_of_the_same_pod_changes_nothing(
    served: Served, who: str, pod: Json
) -> None:
    first = served.stage.review(who, pod)
    once, _, _ = served.mutated(first)
    again = served.stage.review(who, once)
    twice, patch, decision = served.mutated(again)
    assert (twice, patch, decision) == (once, [], "placed-already")


@settings(max_examples=40)
@given(who=makers, pod=pods, taken=st.sampled_from([0, 3, WANTED - 1, WANTED]))
def test_a_dry_run_takes_no_place_and_gives_none_back(
    served: Served, who: str, pod: Json, taken: int
) -> None:
    served.stage.forget(who)
    for _ in range(taken):
        served.mutated(served.stage.review(who, {"metadata": {}, "spec": {}}))
    before = served.stage.reserved(who)
    assert len(before) == taken
    served.mutated(served.stage.review(who, pod, dryRun=True))
    assert served.stage.reserved(who) == before


@given(
    pod=pods,
    strange=st.sampled_from(
        [
            ("dns", {}, "namespace-excluded"),
            ("plain", {}, "not-managed"),
            ("api", {"operation": "UPDATE"}, "not-a-creation"),
            ("api", {"subResource": "eviction"}, "not-a-pod"),
            ("api", {"resource": {"group": "apps", "resource": "pods"}}, "not-a-pod"),
        ]
    ),
)
def test_what_is_not_ours_is_let_through_as_it_is(
    served: Served, pod: Json, strange: tuple[str, Json, str]
) -> None:
    who, fields, why = strange
    _, patch, decision = served.mutated(served.stage.review(who, pod, **fields))
    assert (patch, decision) == ([], why)


# -- what is no pod --------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def places(document: Json, at: tuple[Json, ...] = ()) -> list[tuple[Json, ...]]:
    """Every place in a document."""
    inside: Iterator[tuple[Json, Json]] = iter(())
    if isinstance(document, dict):
        inside = iter(document.items())
    elif isinstance(document, list):
        inside = iter(enumerate(document))
    return [at, *(place for key, value in inside for place in places(value, (*at, key)))]


def refused_or_allowed(served: Served, body: bytes) -> None:
    """200 and allowed, or 400 with the error JSON; nothing is logged as an error."""
    errors: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = errors.append  # type: ignore[method-assign,assignment]
    logging.getLogger().addHandler(handler)
    try:
        reply = served.post(body)
    finally:
        logging.getLogger().removeHandler(handler)
    assert not errors, errors[0].getMessage()
    if reply.status == 200:
        assert reply.json()["response"]["allowed"] is True
    else:
        assert (reply.status, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")
        assert reply.json()["error"]["message"]


FULL: Json = {
    "metadata": {"labels": {"app": "api"}, "annotations": {OURS[2]: '{"id":"x"}', OURS[1]: "3"}},
    "spec": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                REQUIRED: {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "d", "operator": "In", "values": ["ssd"]}]}
                    ]
                }
            }
        },
    },
}


@given(data=st.data(), who=makers)
def test_a_review_that_is_damaged_in_one_place_is_refused_or_let_through(
    served: Served, data: st.DataObject, who: str
) -> None:
    document: Json = {"": served.stage.review(who, FULL, dryRun=True)}
    *way, last = data.draw(st.sampled_from(places(document)[1:]))
    inside = document
    for step in way:
        inside = inside[step]
    inside[last] = data.draw(values)
    refused_or_allowed(served, json.dumps(document[""]).encode())


@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"null")
@example(body=b"\xff\xfe{}")
@example(body=b"[" * 60_000)
@example(body=b'{"a":' * 60_000)
@example(body=b'{"request":{"object":{"spec":{"affinity":{"a":' + b"[" * 60_000)
def test_bytes_that_are_no_review_are_refused(served: Served, body: bytes) -> None:
    refused_or_allowed(served, body)


@given(data=st.data())
def test_a_review_with_bytes_that_were_flipped_or_cut_is_refused_or_let_through(
    served: Served, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(served.stage.review("api", FULL, dryRun=True)).encode())
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)) | st.just(len(body)))
    refused_or_allowed(served, bytes(body[:cut]))


def test_a_decision_that_somebody_wrote_deep_is_no_decision(served: Served) -> None:
    pod = copy.deepcopy(FULL)
    for text in ('{"id":"x","a":' + "[" * 20_000, "[" * 20_000, '{"id":7}', "\ud800"):
        pod["metadata"]["annotations"][OURS[2]] = text
        body = json.dumps(served.stage.review("api", pod, dryRun=True)).encode()
        refused_or_allowed(served, body)


@pytest.mark.parametrize(("spare", "status"), [(0, 200), (1, 400)])
def test_a_review_has_so_many_values_at_most(served: Served, spare: int, status: int) -> None:
    """100,000 are more than any object that etcd takes; in memory they are 27 times their text."""
    review = served.stage.review("api", FULL, dryRun=True)
    review["request"]["options"] = []
    body = json.dumps(review, separators=(",", ":")).encode()
    held = sum(body.count(mark) for mark in (b",", b"{", b"["))
    filled = b"1" + b",1" * (MAX_VALUES - held + spare)
    assert served.post(body.replace(b'"options":[]', b'"options":[%s]' % filled)).status == status
