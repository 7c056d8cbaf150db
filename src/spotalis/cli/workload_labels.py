"""All labels of workloads; the caches hold only those of Spotalis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from spotalis.app.inspection import Inspection
from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.resources import WORKLOADS, Resource


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    labels: dict[str, str] | None = None


class _Labeled(msgspec.Struct):
    metadata: _Metadata


_DECODER = msgspec.json.Decoder(_Labeled)
_Labels = tuple[WorkloadKey, Mapping[str, str]]


async def read_labels(
    inspection: Inspection, namespace: str
) -> Mapping[WorkloadKey, Mapping[str, str]]:
    """The labels of each workload.

    Args:
        namespace: empty for all.

    Raises:
        ApiError, TransportError: the workloads cannot be listed.
    """
    found: dict[WorkloadKey, Mapping[str, str]] = {}
    for kind, resource in WORKLOADS.items():
        if kind != "Rollout" or inspection.cluster.watches_rollouts:
            address = (resource.group, resource.version, resource.plural, kind, True)
            listed = Resource(*address, _decoder_of(kind))
            found.update(await inspection.client.list_all(listed, namespace))
    return found


def _decoder_of(kind: str) -> Callable[[bytes | msgspec.Raw], _Labels]:
    def decode(raw: bytes | msgspec.Raw) -> _Labels:
        metadata = _DECODER.decode(raw).metadata
        return WorkloadKey(kind, metadata.namespace, metadata.name), metadata.labels or {}

    return decode
