"""What is known about spot capacity in the cluster: one record per scheduling shape and size.

It is kept in one ConfigMap in the operator's own namespace; planner/spot_knowledge.py has the
rules.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

SCHEMA = 1
"""The version of the format. Records of another version are ignored."""


class SpotAvailability(StrEnum):
    """What is known about spot capacity for the replicas of a workload.

    See docs/reference/behaviour.md, "Spot shortage and return".
    """

    UNKNOWN = "unknown"
    EXHAUSTED = "exhausted"
    """New replicas of spot slots start on on-demand."""
    AVAILABLE = "available"
    """Spot nodes are added for Pending pods."""


class SpotRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of evidence: pods of a shape and size got spot nodes, or waited without success."""

    shape: str
    """Identifies the scheduling shape."""
    at: datetime
    namespace: str = ""
    """The namespace of the workload that has found it out. Empty for what the cluster itself
    shows: a spot node has joined. Also empty in records of older versions."""
    cpu_millis: int = 0
    memory_bytes: int = 0
    found: bool = False
    """True: spot capacity was added for such pods. False: they waited without success."""
    waited_seconds: int = 0
    """How long they waited. It does not count for workloads that wait longer."""
    failed_probes: int = 0
    """Consecutive failures; the replicas that waited first are the first of them."""
    cause: str = ""
    """A phrase about the failure, for messages."""


class SpotKnowledge(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the ConfigMap."""

    schema: int = SCHEMA
    records: tuple[SpotRecord, ...] = ()
