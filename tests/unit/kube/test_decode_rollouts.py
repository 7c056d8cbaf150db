"""Rollouts of Argo Rollouts become workloads with their progress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from spotalis.kube import decode
from spotalis.model.objects import Workload
from spotalis.model.rollouts import RolloutProgress

PAUSED_AT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
AT_REST, PAUSED, IN_PROGRESS = RolloutProgress


def rollout(*, status: dict[str, Any] | None = None, **spec: Any) -> Workload:
    body = {
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "web-uid",
            "generation": 3,
            "annotations": {"spotalis.io/spot-percentage": "70", "other": "value"},
        },
        "spec": spec,
        "status": status or {},
    }
    return decode.rollout(msgspec.json.encode(body))


def paused(reason: str, **status: Any) -> dict[str, Any]:
    condition = {"reason": reason, "startTime": PAUSED_AT.isoformat()}
    return {"phase": "Paused", "controllerPause": True, "pauseConditions": [condition], **status}


def progress_of(status: dict[str, Any], **spec: Any) -> RolloutProgress:
    found = rollout(status=status, **spec).rollout
    assert found is not None
    return found.progress


def test_the_policy_and_the_numbers_are_read() -> None:
    seen = rollout(replicas=10, status={"replicas": 12, "updatedReplicas": 2})
    assert seen.kind == "Rollout"
    assert seen.annotations == {"spotalis.io/spot-percentage": "70"}
    assert (seen.replicas, seen.status_replicas, seen.updated_replicas) == (10, 12, 2)


@pytest.mark.parametrize(
    ("written", "generation"),
    [("2", 2), ("3", 3), ("6c9f7d", 3), ("", 3)],
    ids=["not observed yet", "observed", "a hash of an old version", "nothing"],
)
def test_the_observed_generation_is_a_number_as_text(written: str, generation: int) -> None:
    assert rollout(status={"observedGeneration": written}).observed_generation == generation


@pytest.mark.parametrize(
    ("status", "progress"),
    [
        ({"phase": "Healthy"}, AT_REST),
        ({"phase": "Progressing"}, IN_PROGRESS),
        ({}, IN_PROGRESS),
        (paused("CanaryPauseStep"), PAUSED),
        ({"phase": "Paused", "controllerPause": True}, IN_PROGRESS),
        ({"phase": "Degraded", "abort": True}, AT_REST),
        ({"phase": "Degraded"}, IN_PROGRESS),
    ],
    ids=["promoted", "step", "new", "pause", "continued by a human", "aborted", "stuck"],
)
def test_progress_follows_the_phase(status: dict[str, Any], progress: RolloutProgress) -> None:
    assert progress_of(status) is progress


def test_a_rollout_that_its_owner_has_paused_is_paused_without_an_end() -> None:
    found = rollout(paused=True, status={"phase": "Paused"}).rollout
    assert found is not None
    assert (found.progress, found.pause_ends_at) == (PAUSED, None)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(90, 90), ("90", 90), ("5m", 300), (None, None), ("soon", 0)],
    ids=["a number", "a number as text", "with a unit", "no end", "cannot be read"],
)
def test_a_pause_step_ends_after_its_duration(
    duration: int | str | None, seconds: int | None
) -> None:
    pause = {} if duration is None else {"duration": duration}
    steps = [{"setWeight": 20}, {"pause": pause}]
    found = rollout(
        strategy={"canary": {"steps": steps}},
        status=paused("CanaryPauseStep", currentStepIndex=1),
    ).rollout
    assert found is not None
    expected = None if seconds is None else PAUSED_AT + timedelta(seconds=seconds)
    assert found.pause_ends_at == expected


@pytest.mark.parametrize("seconds", [30, None])
def test_a_preview_is_promoted_after_auto_promotion_seconds(seconds: int | None) -> None:
    found = rollout(
        strategy={"blueGreen": {"autoPromotionSeconds": seconds}}, status=paused("BlueGreenPause")
    ).rollout
    assert found is not None
    expected = None if seconds is None else PAUSED_AT + timedelta(seconds=seconds)
    assert found.pause_ends_at == expected


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "base"), ("PodTemplate", "")])
def test_the_deployment_that_has_the_pod_template_is_named(kind: str, name: str) -> None:
    found = rollout(workloadRef={"apiVersion": "apps/v1", "kind": kind, "name": "base"}).rollout
    assert found is not None
    assert found.template_of == name
