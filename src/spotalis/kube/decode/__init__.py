"""Decode the API's JSON into the flat records of :mod:`spotalis.model.objects`.

Each function takes the JSON of one object and raises one of ``DECODE_ERRORS`` if it cannot be
read. Only fields that some caller reads are decoded. Every list and map may be null: bookmarks
carry nulls where the schema says required.
"""

from spotalis.kube.decode.metadata import DECODE_ERRORS, Identity, identity
from spotalis.kube.decode.nodes import node, node_pool, volume
from spotalis.kube.decode.objects import (
    event,
    lease,
    ledger,
    namespace,
    preferred_version,
    secret,
    volume_claim,
    webhook_configuration,
)
from spotalis.kube.decode.pods import parse_decision, pod
from spotalis.kube.decode.rollouts import rollout
from spotalis.kube.decode.workloads import (
    deployment,
    disruption_budget,
    replica_set,
    stateful_set,
)

__all__ = [
    "DECODE_ERRORS",
    "Identity",
    "deployment",
    "disruption_budget",
    "event",
    "identity",
    "lease",
    "ledger",
    "namespace",
    "node",
    "node_pool",
    "parse_decision",
    "pod",
    "preferred_version",
    "replica_set",
    "rollout",
    "secret",
    "stateful_set",
    "volume",
    "volume_claim",
    "webhook_configuration",
]
