"""Random histories with fixed seeds: without faults, with faults, and with a loss of spot nodes.

Fresh seeds are searched by ``python -m tests.simulation`` (make test-all).
"""

from __future__ import annotations

import pytest

from tests.simulation.history import chaos, spot_loss, undisturbed
from tests.simulation.planted import PLANTED_FAULTS, PlantedFault
from tests.simulation.runner import run_history
from tests.simulation.search import check_histories, report, search, shrink

HISTORIES = {undisturbed: 200, chaos: 600, spot_loss: 200}
PARTS = [0, 1, *(pytest.param(part, marks=pytest.mark.long) for part in (2, 3))]
"""Parts of the histories that run in parallel. ``make test`` replays half of them."""
SEARCHED_HISTORIES = 400
"""Number of histories within which each planted fault must be found."""


def seeds(part: int, histories: int) -> range:
    size = histories // len(PARTS)
    return range(part * size, (part + 1) * size)


@pytest.mark.parametrize("part", PARTS)
def test_without_faults_every_eviction_improves_the_split(part: int) -> None:
    chosen = seeds(part, HISTORIES[undisturbed])
    statistics = check_histories(undisturbed, chosen)
    assert statistics.evicted["useless"] == 0
    assert statistics.evicted["move"] > len(chosen) / 2


@pytest.mark.parametrize("part", PARTS)
def test_with_faults_the_floor_holds_and_the_split_is_reached(part: int) -> None:
    chosen = seeds(part, HISTORIES[chaos])
    statistics = check_histories(chaos, chosen)
    # The histories prove something only if the floor was reached and processes crashed.
    assert statistics.floor_reached > len(chosen) / 4
    assert statistics.crashes > len(chosen) / 4
    assert statistics.needed_rollout < len(chosen) / 20


@pytest.mark.parametrize("part", PARTS)
def test_with_a_loss_of_spot_the_floor_holds_and_no_ready_replica_falls_back(part: int) -> None:
    chosen = seeds(part, HISTORIES[spot_loss])
    statistics = check_histories(spot_loss, chosen)
    # Workloads that share the knowledge of a shortage fall back together, or not at all.
    assert statistics.evicted["fallback"] > len(chosen) / 2
    assert statistics.crashes > len(chosen) / 2


@pytest.mark.long
@pytest.mark.parametrize("planted", PLANTED_FAULTS, ids=lambda planted: planted.name)
def test_the_simulation_finds_a_planted_fault(planted: PlantedFault) -> None:
    with planted.active():
        for seed in range(planted.first_seed, planted.first_seed + SEARCHED_HISTORIES):
            outcome = run_history(planted.generate(seed), planted.operator)
            if any(violation.startswith(planted.violation) for violation in outcome.violations):
                return
    pytest.fail(f"{planted.name}: not found in {SEARCHED_HISTORIES} histories")


@pytest.mark.check
def test_runs_of_the_same_seed_have_the_same_trace() -> None:
    assert run_history(chaos(4)).trace == run_history(chaos(4)).trace


@pytest.mark.long
def test_a_simplified_history_is_smaller_and_has_the_same_kind_of_violation() -> None:
    planted = next(each for each in PLANTED_FAULTS if each.functions)
    with planted.active():
        _, failed = search(chaos, range(SEARCHED_HISTORIES), planted.operator)
        assert failed is not None
        simplified = shrink(failed, planted.operator)
    assert simplified.violations[0].split(":")[0] == failed.violations[0].split(":")[0]
    assert len(str(simplified.history)) < len(str(failed.history))


@pytest.mark.check
@pytest.mark.parametrize("seed", [1934, 4161])
def test_a_seed_that_once_found_a_bug_finds_no_violation(seed: int) -> None:
    """The bugs are listed in docs/contributing/track-record.md."""
    outcome = run_history(chaos(seed))
    assert not outcome.violations, report(outcome)
