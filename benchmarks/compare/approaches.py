"""The ways to split replicas that are compared: the recipe of Karpenter's documentation, Spotalis.

The recipe is "On-Demand/Spot Ratio Split" (https://karpenter.sh/docs/concepts/scheduling/): the
nodes of two NodePools carry five values of a label, four of them on spot, and a topology spread
constraint spreads the replicas over the values. With ``DoNotSchedule``, as in the documentation, it
is a rule; with ``ScheduleAnyway`` it is a preference, so that replicas may start elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.cluster import NO_POLICY, Policy, policy, workload_body
from tests.support.karpenter import NodePool

SPREAD_LABEL = "capacity-spread"
CONSOLIDATION = {"consolidate_after": "30s", "disruption_budget": "10%"}
"""Karpenter's default budget; its default for ``consolidateAfter`` is 0 s."""
REQUESTS = {"cpu": "500m", "memory": "512Mi"}


@dataclass(frozen=True, kw_only=True)
class Approach:
    """A way to run 80 % of the replicas on spot.

    spread:       ``whenUnsatisfiable`` of the spread constraint; empty without a constraint.
    policy:       annotations of the workloads.
    has_operator: whether Spotalis runs.
    """

    name: str
    spread: str = ""
    policy: Policy = field(default_factory=lambda: NO_POLICY)
    has_operator: bool = False

    def pools(self) -> tuple[NodePool, NodePool]:
        """The NodePools, one for each capacity type."""
        values = {"spot": ("2", "3", "4", "5"), "on-demand": ("1",)}
        spot, on_demand = (
            NodePool(
                name=name,
                capacity_types=(name,),
                requirements={SPREAD_LABEL: labels} if self.spread else {},
            )
            for name, labels in values.items()
        )
        return spot, on_demand

    def template(self, workload: str) -> dict[str, Any]:
        """The pod template of a workload."""
        template: dict[str, Any] = workload_body("Deployment", workload, 0)["spec"]["template"]
        template["spec"]["containers"][0]["resources"] = {"requests": REQUESTS}
        if self.spread:
            template["spec"]["topologySpreadConstraints"] = [
                {
                    "maxSkew": 1,
                    "topologyKey": SPREAD_LABEL,
                    "whenUnsatisfiable": self.spread,
                    "labelSelector": {"matchLabels": {"app": workload}},
                }
            ]
        return template


APPROACHES = (
    Approach(name="recipe, DoNotSchedule", spread="DoNotSchedule"),
    Approach(name="recipe, ScheduleAnyway", spread="ScheduleAnyway"),
    Approach(name="Spotalis", policy=policy(80, 2), has_operator=True),
)
