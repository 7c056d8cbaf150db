"""Read-only: everything is decided and told, and nothing is changed."""

from __future__ import annotations

from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, only_embedded, only_real


def _watching(bed: Bed) -> None:
    """The writes of behaviour.md 7, and no others: events, caBundle, certificate."""
    allowed = {
        ("create", "events"),
        ("patch", "mutatingwebhookconfigurations"),
        ("update", "secrets"),
    }
    assert set(bed.writes()) <= allowed, bed.writes()
    assert bed.evictions() == []


@only_embedded
def test_neither_pods_nor_moves_nor_ledgers_nor_conditions(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        bed.settings["read_only"] = True
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(70))
            await bed.deployment("pinned", 4, Wishes(50), node_selector={"role": "none"})

            async def up() -> bool:
                return sum(await bed.split("web")) == 10

            await bed.until(up, "all run")
            assert all(pod.slot is None and not pod.rule for pod in await bed.pods("web"))
            await bed.stands_still("web", seconds=300)
            _watching(bed)

    play(scenario)


@only_real
def test_neither_on_the_real_control_plane(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator("--read-only"):
            await bed.deployment("web", 10, Wishes(70))

            async def up() -> bool:
                return sum(await bed.split("web")) == 10

            await bed.until(up, "all run")
            assert all(pod.slot is None and not pod.rule for pod in await bed.pods("web"))
            await bed.annotate("Deployment", "web", {"spot-percentage": "0"})
            await bed.stands_still("web", seconds=10)
            _watching(bed)

    play(scenario)
