"""`watchNamespaces`: an operator that reads some namespaces alone.

On the embedded cluster, since it is a setting; what a real API server refuses, and that nothing is
asked that it would, is in tests/delivery/test_install.py.
"""

from __future__ import annotations

import asyncio
import json

from spotalis.controller.ledger import PREFIX
from spotalis.kube.resources import DEPLOYMENTS, LEDGER_LABEL
from spotalis.model.controller_configuration import NamespaceFilter
from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, only_embedded

HOME = "/api/v1/namespaces/spotalis-system/configmaps"


async def _watching_default_alone(bed: Bed) -> OnEmbeddedCluster:
    """A namespace ``data`` is there too, and one that is watched is not (yet)."""
    assert isinstance(bed, OnEmbeddedCluster)
    bed.settings["namespaces"] = NamespaceFilter(watched=frozenset({"default", "to-come"}))
    answer = await bed.api.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "data"}})
    assert answer.status == 201
    return bed


def _asked_about(bed: OnEmbeddedCluster) -> set[str]:
    return {entry.namespace for entry in bed.cluster.audit.find(user="spotalis")}


async def _says(bed: Bed, name: str) -> str:
    document = await bed.raw_object("Deployment", name)
    conditions = document["status"].get("conditions", ())
    return next((str(c["message"]) for c in conditions if c["type"] == "spotalis.io/Balanced"), "")


@only_embedded
def test_nothing_is_asked_about_other_namespaces_and_their_pods_are_left_as_they_are(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        stage = await _watching_default_alone(bed)
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50))
            await bed.deployment("web", 4, Wishes(100), namespace="data")
            await bed.settled("web", 2, 2)
            before = {pod.uid for pod in await bed.pods("web", "data")}
            types = await bed.node_types()
            assert "on-demand" in {types[pod.node] for pod in await bed.pods("web", "data")}
            await bed.stands_still("web", seconds=95)  # three resyncs
            elsewhere = await bed.pods("web", "data")
            assert {pod.uid for pod in elsewhere} == before
            assert [key for pod in elsewhere for key in pod.labels if "spotalis" in key] == []
        assert _asked_about(stage) == {"", "default", "to-come", "spotalis-system"}

    play(scenario)


@only_embedded
def test_empty_spot_nodes_are_no_evidence_so_one_replica_goes_first(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await _watching_default_alone(bed)
        await bed.add_nodes(on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, 0, {"max-moves-in-flight": "4"}))
            await bed.settled("web", 6, 0)
            await bed.add_nodes(spot=2)
            await incidents.end_provisioning(bed)
            await bed.annotate("Deployment", "web", {"spot-percentage": "100"})

            async def moves() -> bool:
                return bool(bed.evictions())

            await bed.until(moves, "a replica is evicted")
            await asyncio.sleep(0.5)  # less than a replacement takes to serve
            assert len(bed.evictions()) == 1
            await bed.settled("web", 0, 6)
            assert len(bed.evictions()) == 6

    play(scenario)


@only_embedded
def test_without_a_way_back_no_replica_is_sent_to_find_out(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await _watching_default_alone(bed)
        await bed.add_nodes(on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0, 0, {"spot-fallback": "never"}))
            await bed.settled("web", 4, 0)
            await bed.add_nodes(spot=2)
            await incidents.end_provisioning(bed)
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await bed.stands_still("web", seconds=95)
            assert "not known where not all pods are watched" in await _says(bed, "web")

    play(scenario)


@only_embedded
def test_moves_left_open_in_a_namespace_that_is_watched_no_more_hold_nobody_up(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        stage = await _watching_default_alone(bed)
        stage.settings["max_moves_in_flight"] = 1
        await bed.add_nodes(spot=2, on_demand=2)
        await bed.deployment("web", 2, Wishes(50), namespace="data")
        left = await bed.api.get(DEPLOYMENTS, "data", "web")
        assert left is not None
        name = PREFIX + left.uid
        intent = {"pod": "gone", "name": "web-1", "toward": "spot", "sender": "earlier"}
        record = {"schema": 1, "workload": "Deployment/data/web", "intents": [intent]}
        async with bed.operator():
            ledger = {
                "metadata": {"name": name, "labels": {LEDGER_LABEL: "true"}},
                "data": {"ledger": json.dumps(record)},
            }
            assert (await bed.api.raw("POST", HOME, ledger)).status == 201
            await bed.deployment("web", 4, Wishes(50))
            await bed.settled("web", 2, 2)
            await bed.annotate("Deployment", "web", {"spot-percentage": "0"})
            await bed.settled("web", 4, 0, within=45)  # resync, then two moves
            assert (await bed.api.raw("GET", f"{HOME}/{name}")).status == 404
        assert "data" not in _asked_about(stage)

    play(scenario)
