"""The commands that an explanation names at its end."""

from __future__ import annotations

from collections.abc import Iterator

from spotalis.cli.views import WorkloadSplit
from spotalis.model.decision import Reason


def next_commands(
    split: WorkloadSplit, *, moves: bool, operator_namespace: str, flags: str
) -> Iterator[str]:
    """What the user may want to do next, with the command for it.

    Args:
        split: of the workload.
        moves: whether replicas move now or later.
        operator_namespace: where a pause concerns the whole cluster.
        flags: those that select the cluster, with a space in front; may be empty.
    """
    here = f"{split.short} -n {split.namespace}{flags}"
    if split.status == Reason.PAUSED:
        source = split.policy["paused-until"].source
        kind, _, name = source.rpartition(" ")[2].partition("/")
        if (kind, name) == ("namespace", operator_namespace):
            yield f"End the pause of the cluster: spotalis resume --all{flags}"
        elif kind == "namespace":
            yield f"End the pause of the namespace: spotalis resume ns/{name}{flags}"
        elif source.startswith("annotation "):
            yield f"End the pause: spotalis resume {here}"
    if split.status == Reason.INVALID_POLICY:
        yield "See what each key accepts: spotalis key"
    if moves:
        yield f"See all moves: spotalis plan {here}"
        if split.status != Reason.PAUSED:
            yield f"Stop them: spotalis pause {here} --for 1h"
