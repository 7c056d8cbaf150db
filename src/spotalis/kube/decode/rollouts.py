"""Decode the Rollouts of Argo Rollouts (``argoproj.io/v1alpha1``)."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from spotalis.kube.decode.metadata import NULL, Metadata, Wire, shared_selector
from spotalis.kube.decode.workloads import Template, common_fields
from spotalis.model.durations import parse_duration
from spotalis.model.objects import LabelSelector, Workload
from spotalis.model.rollouts import RolloutProgress, RolloutState


class _Reference(Wire):
    kind: str = ""
    name: str = ""


class _Pause(Wire):
    duration: int | str | None = None
    """Seconds as a number or as text, or a duration with a unit. None: until a human continues."""


class _Step(Wire):
    pause: _Pause | None = None


class _Canary(Wire):
    steps: list[_Step] | None = None


class _BlueGreen(Wire):
    auto_promotion_seconds: int | None = None


class _Strategy(Wire):
    canary: _Canary | None = None
    blue_green: _BlueGreen | None = None


class _Spec(Wire):
    replicas: int | None = None
    selector: msgspec.Raw = NULL
    template: Template | None = None
    workload_ref: _Reference | None = None
    min_ready_seconds: int | None = None
    paused: bool | None = None
    strategy: _Strategy | None = None


class _PauseCondition(Wire):
    reason: str = ""
    start_time: datetime | None = None


class _Status(Wire):
    observed_generation: str | None = None
    """A number as text. Before v0.10 a hash, which says nothing."""
    replicas: int | None = None
    updated_replicas: int | None = None
    phase: str | None = None
    abort: bool | None = None
    controller_pause: bool | None = None
    pause_conditions: list[_PauseCondition] | None = None
    current_step_index: int | None = None


class _Rollout(Wire):
    metadata: Metadata
    spec: _Spec
    status: _Status | None = None


def rollout(raw: bytes | msgspec.Raw) -> Workload:
    """Decode a Rollout."""
    written = _ROLLOUT.decode(raw)
    metadata, spec = written.metadata, written.spec
    status = written.status or _Status()
    reference = spec.workload_ref
    observed = status.observed_generation or ""
    return Workload(
        **common_fields(metadata, spec.template),
        kind="Rollout",
        observed_generation=int(observed) if observed.isdecimal() else metadata.generation,
        selector=shared_selector(spec.selector, metadata.namespace) or LabelSelector(),
        replicas=1 if spec.replicas is None else spec.replicas,
        status_replicas=status.replicas or 0,
        updated_replicas=status.updated_replicas or 0,
        min_ready_seconds=spec.min_ready_seconds or 0,
        rollout=RolloutState(
            progress=_progress(spec, status),
            pause_ends_at=_pause_ends_at(spec, status),
            template_of=reference.name if reference and reference.kind == "Deployment" else "",
        ),
    )


def _progress(spec: _Spec, status: _Status) -> RolloutProgress:
    """Where the Rollout stands, from the phase that its controller computes.

    The controller has not acted yet on a pause that a human has ended if ``controllerPause`` is
    set and no pause condition is left (utils/rollout/rolloututil.go, IsUnpausing).
    """
    if status.phase == "Paused" and (spec.paused or status.pause_conditions):
        return RolloutProgress.PAUSED
    if status.phase == "Healthy" and not status.controller_pause:
        return RolloutProgress.AT_REST
    if status.phase == "Degraded" and status.abort:
        return RolloutProgress.AT_REST
    return RolloutProgress.IN_PROGRESS


def _pause_ends_at(spec: _Spec, status: _Status) -> datetime | None:
    """When the controller ends the present pause; None if a human ends it."""
    if spec.paused:
        return None
    strategy, ends = spec.strategy or _Strategy(), []
    for condition in status.pause_conditions or ():
        length = None
        if condition.reason == "CanaryPauseStep" and strategy.canary is not None:
            steps, index = strategy.canary.steps or [], status.current_step_index or 0
            step = steps[index] if index < len(steps) else _Step()
            length = _length(step.pause.duration) if step.pause else None
        elif condition.reason == "BlueGreenPause" and strategy.blue_green is not None:
            length = _length(strategy.blue_green.auto_promotion_seconds)
        if length is None or condition.start_time is None:
            return None
        ends.append(condition.start_time + length)
    return max(ends, default=None)


def _length(written: int | str | None) -> timedelta | None:
    """The length of a pause; None if it has no end. One that cannot be read may end at once."""
    if written is None:
        return None
    text = str(written)
    try:
        return parse_duration(f"{text}s" if text.isdecimal() else text)
    except ValueError:
        return timedelta(0)


_ROLLOUT = msgspec.json.Decoder(_Rollout)
