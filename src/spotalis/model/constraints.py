"""Scheduling constraints that Spotalis does not judge, in the words of its messages.

The shape of a pod names the first that it has (``PodShape.unjudged``). Whether a node can hold such
a pod is not known, so that only a probe can tell.
"""

from __future__ import annotations

MAX_CONSTRAINTS_BYTES = 8192
"""JSON of node selector, affinity, tolerations, spread constraints and ports together. Those of
common pods have fewer than 2,000. Every node is compared with every requirement, also for pods of
tenants that Spotalis does not manage."""

TOO_LONG = f"scheduling constraints of more than {MAX_CONSTRAINTS_BYTES} bytes"
NOT_KEPT = "constraints beyond the share of its namespace"
"""Nothing is known about the nodes that can hold the pod, so that it is not moved."""
RESOURCE_CLAIMS = "resource claims"
SPREAD_CONSTRAINTS = "topology spread constraints"
POD_AFFINITY = "pod affinity"
ACROSS_NAMESPACES = "anti-affinity across namespaces"
