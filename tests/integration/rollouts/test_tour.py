"""A tour of the command line by the real kubectl: each command on eleven workloads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.delivery.kubectl import Kubectl
from tests.support.cluster import TestCluster, policy
from tests.support.real_cluster import RealTestCluster
from tests.support.rollouts import canary, rollouts_beside
from tests.support.scenarios import only_real
from tests.support.volumes import bound, claiming

SMALL = {"pool": "small"}
"""Labels of nodes whose spot node is too small for a pod."""
TOO_SMALL = {"cpu": "50m", "memory": "32Mi", "pods": "10"}
UNPLACED = ("offtarget", "blocked", "paused", "invalid", "rolling", "plain")
KINDS = {"db": "sts", "canary": "rollout"}
"""The kinds of the workloads other than Deployments."""


async def create_before_spot(cluster: RealTestCluster) -> None:
    """Create workloads that run on on-demand nodes only, before the operator is installed."""
    plane = cluster.plane
    await asyncio.to_thread(plane.add_nodes, on_demand=2)
    await asyncio.to_thread(plane.add_nodes, on_demand=1, labels=SMALL)
    for name in UNPLACED:
        await cluster.create_deployment(name, 4)
    await cluster.create_deployment("probing", 4, node_selector=SMALL)
    await bound(cluster, {f"db-{ordinal}": "" for ordinal in range(3)})
    await cluster.create_stateful_set("db", 3, spec=claiming())
    await cluster.create_budget("strict", "blocked", minAvailable=4)
    for name in (*UNPLACED, "probing"):
        await cluster.wait_for_split(name, 4, 0)
    await cluster.wait_for_split("db", 3, 0)
    await asyncio.to_thread(plane.add_nodes, spot=3)
    await asyncio.to_thread(plane.add_nodes, spot=1, labels=SMALL, allocatable=TOO_SMALL)


async def opt_in(cluster: RealTestCluster) -> None:
    """Give these workloads a policy while no operator runs, so that they stay as they are."""
    half = {"enabled": "true", "spot-percentage": "50"}
    for name in ("offtarget", "blocked", "rolling", "probing"):
        await cluster.annotate("Deployment", name, half)
    await cluster.annotate("Deployment", "paused", {**half, "paused-until": "forever"})
    await cluster.annotate("Deployment", "invalid", {**half, "spot-percentage": "7O"})
    await cluster.annotate("StatefulSet", "db", {**half, "min-on-demand": "1"})
    nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"pool": "none"}}}}}
    await cluster.patch_workload("Deployment", "rolling", nowhere)


@asynccontextmanager
async def every_kind_of_workload(cluster: TestCluster) -> AsyncIterator[Kubectl]:
    """Workloads in every state, and the plugin. The operator has run and has ended."""
    assert isinstance(cluster, RealTestCluster)
    await create_before_spot(cluster)
    async with rollouts_beside(cluster) as rollouts:
        async with cluster.operator():
            await cluster.create_deployment("balanced", 4, policy(50))
            await cluster.create_deployment(
                "fallen", 4, policy(50, spot_fallback="2s"), node_selector=SMALL
            )
            await rollouts.create("canary", 4, policy(50), canary(50))
            await cluster.wait_for_split("balanced", 2, 2)
            await cluster.wait_for_split("fallen", 4, 0)
            await rollouts.wait_for_splits("canary", (2, 2), phase="Healthy")
            await rollouts.set_image("canary", "registry.example/main:2")
            await rollouts.wait_for_splits("canary", (1, 1), (1, 1), phase="Paused")
        await opt_in(cluster)
        yield Kubectl(cluster.plane)


STATUS = {
    "balanced": "Balanced",
    "blocked": "BlockedByPDB",
    "canary": "Balanced",
    "db": "Rebalancing",
    "fallen": "NoSpotCapacity",
    "invalid": "InvalidPolicy",
    "offtarget": "Rebalancing",
    "paused": "Paused",
    "probing": "Rebalancing",
    "rolling": "RolloutInProgress",
}
"""The reason of every workload that has opted in."""
EXPLAINED = {
    "balanced": "4 replicas x 50% = 2 spot",
    "blocked": "BlockedByPDB: pdb/strict allows 0 disruptions",
    "canary": "Balanced: ",
    "db": "min-on-demand 1 allows up to 2",
    "fallen": "spot is exhausted",
    "invalid": "spot-percentage '7O' must be a whole number from 0 to 100",
    "offtarget": "+0s: evict offtarget-",
    "paused": "Paused: paused until paused-until is removed",
    "probing": "probing spot with one replica",
    "plain": "NotManaged: not enabled",
    "rolling": "RolloutInProgress: ",
}
"""Words of the explanation of every workload."""


@only_real
async def test_each_command_describes_each_workload(cluster: TestCluster) -> None:
    """The commands are few, because each of them starts a process; most describe all workloads."""
    async with every_kind_of_workload(cluster) as kubectl:
        names = {name: f"{KINDS.get(name, 'deploy')}/{name}" for name in EXPLAINED}

        async def run(*words: str, stdin: str = "", code: int = 0) -> str:
            done = await asyncio.to_thread(kubectl, *words, stdin=stdin)
            print(words, done.returncode, done.stdout, done.stderr, sep="\n", flush=True)
            assert (done.returncode, done.stderr) == (code, ""), done.stderr
            return done.stdout

        status = await run("status", "-o", "wide", "--no-headers")
        plan = await run("plan")
        explained = {name: await run("explain", names[name]) for name in EXPLAINED}
        events = await run("events")
        kinds = "deployments,statefulsets,rollouts,poddisruptionbudgets"
        manifests = await asyncio.to_thread(cluster.plane.kubectl, "get", kinds, "-o", "yaml")  # type: ignore[attr-defined]
        report = await run("validate", "-", stdin=manifests, code=3)
        checks = await run("doctor", code=3)
        [pod, *_] = [pod for pod in await cluster.pods("fallen") if pod.rule == "fallback"]
        why = await run("explain", f"pod/{pod.name}")
        what_if = await run("plan", "--all", "--set", "spot-percentage=75")
        shown = moves_of(await run("plan", "-o", "json"))
        present = {pod.name for name in EXPLAINED for pod in await cluster.pods(name)}
        async with cluster.operator():
            await cluster.wait_for_split("offtarget", 2, 2)
            await cluster.wait_for_split("db", 2, 1)
            await cluster.wait_for_status("probing", "NoSpotCapacity")
        # The probe finds no node, so that its replacement is evicted and starts on on-demand.
        moved = [pod for pod in cluster.evictions() if pod in present]

    rows = {line.split()[0].partition("/")[2]: line for line in status.splitlines()}
    assert {name: row.split()[4] for name, row in rows.items()} == STATUS
    for name, moves in (("offtarget", 2), ("db", 1), ("probing", 2)):
        assert f"move {moves} to spot" in _line(plan, names[name])
        assert plan.count(f" evict {name}-") == moves
    assert plan.count(" as a probe") == 1
    for name in ("blocked", "paused", "invalid", "fallen", "rolling"):
        assert f"no moves; {STATUS[name]}: " in _line(plan, names[name])
    assert "2 workloads balanced, without moves" in plan
    assert {name: text for name, text in explained.items() if EXPLAINED[name] not in text} == {}
    assert "SpotCapacityMissing" in _line(events, names["fallen"])
    assert "11 workloads in 1 file: 1 error, " in report
    assert "'7O' must be a whole number from 0 to 100" in report
    assert "default/deploy/invalid" in _line(checks, "policies")
    assert "fix: kubectl spotalis explain deploy/invalid -n default" in checks
    assert "default/strict can never allow an eviction" in _line(checks, "budgets")
    assert why.splitlines()[0].endswith(": on on-demand")
    assert "rule       fallback: spot was exhausted" in why
    assert "move 3 to spot" in _line(what_if, "deploy/plain")
    del shown["probing"][1:]  # The plan assumes that the probe finds a node.
    assert {name: [pod for pod in moved if pod.startswith(f"{name}-")] for name in shown} == shown
    assert len(moved) == sum(map(len, shown.values()))


def moves_of(plan: str) -> dict[str, list[str]]:
    """The pods that a plan in JSON moves, in order, by workload."""
    items = json.loads(plan)["items"]
    return {item["split"]["name"]: [move["pod"] for move in item["moves"]] for item in items}


def _line(text: str, start: str) -> str:
    """The line about an object."""
    return next((line for line in text.splitlines() if start in line), "")
