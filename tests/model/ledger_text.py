"""Descriptions of states for traces."""

from __future__ import annotations

from functools import cache

from tests.model.ledger_state import Instance, PackedLedger, Pods, Status


def show(instance: Instance) -> str:
    return f"I{instance.name}"


def show_pod(pod: int) -> str:
    return f"pod {pod}"


@cache
def show_pods(pods: Pods) -> str:
    return f"pods {', '.join(map(str, pods))}" if pods else "no pod"


@cache
def show_ledger(intents: PackedLedger) -> str:
    told = ", ".join(
        f"{m.pod} by I{m.instance}{' taken over' * m.taken_over}{' resent' * (m.attempts > 1)}"
        for m in intents
    )
    return f"[{told}]"


@cache
def show_statuses(pods: Pods) -> str:
    return (
        "["
        + ", ".join(
            f"{pod} {Status(status).name.lower()}"
            for pod, status in enumerate(pods)
            if status is not Status.NOT_CREATED
        )
        + "]"
    )
