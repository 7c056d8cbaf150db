"""Random scripts: requests with all verbs for few objects, determined by a seed.

A script depends only on the responses it has received, so it makes the same choices on both
clusters as long as their responses are equal. Versions and UIDs are taken from earlier responses.
"""

from __future__ import annotations

import random  # noqa: TID251  # seeded
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.conformance.clusters import Script
from tests.conformance.history import Json
from tests.conformance.objects import NOWHERE, a_budget, a_config_map, a_lease, a_pod
from tests.conformance.session import JSON_PATCH, STRATEGIC, ScriptResponse, Session

NAMES = ("a", "b", "c")
MIN_REQUESTS, MAX_REQUESTS = 10, 30
WRONG_UID = "00000000-0000-4000-8000-000000000000"
KINDS = ("configmaps", "leases", "pods", "poddisruptionbudgets")
BUDGETS = {"a": {"app": "web"}, "b": {"app": "api"}, "c": {"app": "none"}}
"""The labels that each budget selects; no pod has two budgets, as the result would be arbitrary."""
Step: TypeAlias = Callable[[], Awaitable[None]]


def a_random_script(seed: int) -> Script:
    """Create the script of a seed."""

    async def script(s: Session) -> None:
        await _RandomScript(s, random.Random(seed)).run()

    return script


class _RandomScript:
    """One run of a random script on one cluster."""

    def __init__(self, s: Session, rng: random.Random) -> None:
        self._s = s
        self._rng = rng
        self._seen: dict[str, list[Json]] = {}
        """By path: the objects in responses, oldest first."""

    async def run(self) -> None:
        steps: list[tuple[int, Step]] = [
            (6, self._create),
            (2, self._get),
            (2, self._list),
            (5, self._update),
            (5, self._patch),
            (4, self._delete),
            (3, self._evict),
            (3, self._pod_status),
            (1, self._watch),
        ]
        weights = [weight for weight, _ in steps]
        for _ in range(self._rng.randint(MIN_REQUESTS, MAX_REQUESTS)):
            (_, step), *_ = self._rng.choices(steps, weights)
            await step()
            for name in NAMES:
                await _until_counted(self._s, name)
        await self._read_all()

    async def _create(self) -> None:
        kind, name = self._kind(), self._rng.choice(NAMES)
        response = await self._s.post(kind, self._object(kind, name), **self._maybe_dry())
        self._remember(f"{kind}/{name}", response)

    async def _get(self) -> None:
        where = self._where()
        self._remember(where, await self._s.get(where))

    async def _list(self) -> None:
        kind = self._kind()
        query: dict[str, str] = dict(self._rng.choice([{}, {"labelSelector": "app=web"}]))
        if kind == "configmaps":
            query.setdefault("labelSelector", "app")
        if kind != "configmaps" and self._rng.random() < 0.4:
            query["limit"] = "1"
        await self._s.get(kind, **query)

    async def _update(self) -> None:
        """Put a changed earlier state: often an old one, sometimes without a version."""
        where = self._where()
        states = self._seen.get(where)
        kind, _, name = where.partition("/")
        if not states:
            await self._s.put(where, self._object(kind, name))
            return
        body = self._changed(kind, self._rng.choice(states[-3:]))
        how, query = self._rng.random(), self._maybe_dry()
        if how < 0.15:
            body["metadata"].pop("resourceVersion", None)
        elif how < 0.2:
            body["metadata"]["uid"], query = WRONG_UID, {}
        self._remember(where, await self._s.put(where, body, **query))

    async def _patch(self) -> None:
        where = self._where()
        value = str(self._rng.randint(0, 2))
        metadata: Json = {"annotations": {"spotalis.io/x": value}}
        states = self._seen.get(where)
        how = self._rng.random()
        if states and how < 0.3:
            metadata["resourceVersion"] = self._rng.choice(states)["metadata"]["resourceVersion"]
        elif how < 0.4:
            metadata = {"labels": {"app": self._rng.choice(["web", "api"])}}
        elif how < 0.5 and not where.startswith("pods"):
            metadata = {"finalizers": self._rng.choice([None, ["spotalis.io/x"]])}
        elif how < 0.6:
            add = [{"op": "add", "path": "/metadata/labels/more", "value": value}]
            self._remember(where, await self._s.patch(where, add, JSON_PATCH))
            return
        content_type = self._rng.choice([STRATEGIC, "application/merge-patch+json"])
        response = await self._s.patch(
            where, {"metadata": metadata}, content_type, **self._maybe_dry()
        )
        self._remember(where, response)

    async def _delete(self) -> None:
        where = self._where()
        options: Json = {}
        preconditions = self._preconditions(where)
        if preconditions:
            options["preconditions"] = preconditions
        if self._rng.random() < 0.3:
            options["gracePeriodSeconds"] = self._rng.choice([0, 1, 30])
        if self._rng.random() < 0.15:
            options["propagationPolicy"] = "Background"
        response = await self._s.delete(where, options or None, **self._maybe_dry())
        self._remember(where, response)

    async def _evict(self) -> None:
        name = self._rng.choice(NAMES)
        options: Json = {}
        preconditions = self._preconditions(f"pods/{name}")
        if preconditions:
            options["preconditions"] = preconditions
        if self._rng.random() < 0.1:
            options["dryRun"] = ["All"]
        await self._s.evict(name, **options)

    async def _pod_status(self) -> None:
        """Set the status of a pod, as its kubelet would."""
        name = self._rng.choice(NAMES)
        ready = self._rng.choice(["True", "False"])
        phase = self._rng.choice(["Running", "Running", "Running", "Succeeded"])
        status = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
        response = await self._s.patch(f"pods/{name}/status", {"status": status})
        self._remember(f"pods/{name}", response)

    async def _watch(self) -> None:
        """Watch a kind from the first state that was received to the current one."""
        kind = self._rng.choice(("leases", "pods"))
        versions = [
            state["metadata"]["resourceVersion"]
            for where, states in self._seen.items()
            if where.startswith(kind)
            for state in states[:1]
        ]
        if versions:
            since = min(versions, key=int)
            marker = await self._s.quiet.post(kind, self._marker(kind))
            await self._s.watch_until(kind, marker.version, resourceVersion=since)
            await self._s.quiet.delete(f"{kind}/marker", {"gracePeriodSeconds": 0})

    async def _read_all(self) -> None:
        """Read the remaining objects."""
        for kind in KINDS:
            await self._s.get(kind, labelSelector="marker!=yes" if kind != "configmaps" else "app")

    def _kind(self) -> str:
        return self._rng.choices(KINDS, (3, 2, 4, 1))[0]

    def _where(self) -> str:
        """The path of an object, mostly of one that was received."""
        if self._seen and self._rng.random() < 0.8:
            return self._rng.choice(sorted(self._seen))
        return f"{self._kind()}/{self._rng.choice(NAMES)}"

    def _maybe_dry(self) -> dict[str, str]:
        return {"dryRun": "All"} if self._rng.random() < 0.1 else {}

    def _object(self, kind: str, name: str) -> Json:
        match kind:
            case "configmaps":
                return a_config_map(name, {"a": str(self._rng.randint(0, 2))})
            case "leases":
                lease = a_lease(name, holderIdentity=self._rng.choice(["one", "two"]))
                lease["metadata"]["labels"] = {"app": "web"}
                return lease
            case "pods":
                bound = self._rng.random() < 0.7
                pod = a_pod(name, node=NOWHERE if bound else "")
                if bound and self._rng.random() < 0.2:
                    # If unbound, the pod garbage collector, which runs every 20 s, would delete it.
                    pod["metadata"]["finalizers"] = ["spotalis.io/x"]
                return pod
            case _:
                return a_budget(name, BUDGETS[name], minAvailable=self._rng.randint(0, 2))

    def _marker(self, kind: str) -> Json:
        """An object that is not used otherwise, whose event ends a watch."""
        body = a_lease("marker") if kind == "leases" else a_pod("marker")
        body["metadata"]["labels"] = {"own": "marker"}
        return body

    def _changed(self, kind: str, state: Json) -> Json:
        metadata = {key: one for key, one in state["metadata"].items() if key != "managedFields"}
        value = str(self._rng.randint(0, 2))
        body = {**state, "metadata": metadata}
        if kind == "configmaps" and self._rng.random() < 0.7:
            body["data"] = {"a": value}
        elif kind == "leases" and self._rng.random() < 0.7:
            body["spec"] = {**state["spec"], "holderIdentity": value}
        else:
            metadata["annotations"] = {"spotalis.io/y": value}
        return body

    def _preconditions(self, where: str) -> dict[str, str]:
        states, how = self._seen.get(where), self._rng.random()
        if how < 0.1:
            return {"uid": WRONG_UID}
        if not states or how < 0.5:
            return {}
        metadata = self._rng.choice(states[-3:])["metadata"]
        if how < 0.7:
            return {"uid": metadata["uid"]}
        return {"resourceVersion": metadata["resourceVersion"]}

    def _remember(self, where: str, response: ScriptResponse) -> None:
        body = response.body
        # The response to a creation in a dry run has no version.
        if body.get("kind") != "Status" and body["metadata"].get("resourceVersion"):
            self._seen.setdefault(where, []).append(body)


async def _until_counted(s: Session, name: str) -> None:
    """Wait until the disruption controller has counted the pods of a budget.

    The next requests must not depend on its speed. The budget is changed first, because the
    controller does not notice a pod that leaves the budget by a change of its labels.
    """
    where = f"poddisruptionbudgets/{name}"
    change = {"metadata": {"annotations": {"changed": str(len(s.history))}}}
    budget = (await s.quiet.patch(where, change)).body
    if budget["kind"] == "Status":
        return
    labels = budget["spec"]["selector"]["matchLabels"]
    found = [(await s.quiet.get(f"pods/{pod}")).body for pod in NAMES]
    pods = [
        pod
        for pod in found
        if pod["kind"] == "Pod" and pod["metadata"]["labels"].items() >= labels.items()
    ]
    staying = {
        pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
    }

    def is_counted(now: Json) -> bool:
        status = now["status"]
        disrupted = set(status.get("disruptedPods") or ())
        healthy = [pod for pod in pods if _is_ready(pod) and pod["metadata"]["name"] in staying]
        left = [pod for pod in healthy if pod["metadata"]["name"] not in disrupted]
        return (
            disrupted <= staying
            and status["currentHealthy"] == len(left)
            and status["expectedPods"] == len(pods)
            and status.get("observedGeneration") == now["metadata"]["generation"]
        )

    await s.until(where, is_counted, f"budget {name} is counted: {len(pods)} pods, {staying} stay")


def _is_ready(pod: Json) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in pod["status"].get("conditions") or ()
    )
