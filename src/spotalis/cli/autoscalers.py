"""What scales the workloads: HorizontalPodAutoscalers, and KEDA through them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from spotalis.app.inspection import Inspection
from spotalis.cli.output import tell
from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.errors import Forbidden, NotFound
from spotalis.kube.resources import Resource


class Autoscaler(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What changes ``spec.replicas`` of a workload."""

    name: str
    """``hpa/checkout``, or ``keda/checkout`` for a ScaledObject of KEDA."""
    min_replicas: int
    max_replicas: int
    desired_replicas: int | None = None
    """Null if it has not computed them yet."""
    last_scaled_at: datetime | None = None


class _Reference(msgspec.Struct, rename="camel"):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    owner_references: list[_Reference] = []


class _Spec(msgspec.Struct, rename="camel"):
    scale_target_ref: _Reference
    max_replicas: int
    min_replicas: int | None = None


class _Status(msgspec.Struct, rename="camel"):
    desired_replicas: int | None = None
    last_scale_time: datetime | None = None


class _HorizontalPodAutoscaler(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


_DECODER = msgspec.json.Decoder(_HorizontalPodAutoscaler)


def _decode(raw: bytes | msgspec.Raw) -> tuple[WorkloadKey, Autoscaler]:
    written = _DECODER.decode(raw)
    metadata, spec, status = written.metadata, written.spec, written.status
    # KEDA creates an HPA for each ScaledObject, which controls it (kedacore/keda,
    # controllers/keda/hpa.go).
    owners = (each for each in metadata.owner_references if each.controller)
    keda = next((owner for owner in owners if owner.kind == "ScaledObject"), None)
    target = WorkloadKey(spec.scale_target_ref.kind, metadata.namespace, spec.scale_target_ref.name)
    return target, Autoscaler(
        name=f"keda/{keda.name}" if keda else f"hpa/{metadata.name}",
        min_replicas=1 if spec.min_replicas is None else spec.min_replicas,
        max_replicas=spec.max_replicas,
        desired_replicas=status.desired_replicas,
        last_scaled_at=status.last_scale_time,
    )


AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, _decode
)


async def read_autoscalers(
    inspection: Inspection, namespace: str
) -> Mapping[WorkloadKey, Autoscaler]:
    """The autoscaler of each workload that has one; of several, one of them.

    Empty, with a note for the user, if they may not be listed.

    Args:
        namespace: empty for all.

    Raises:
        ApiError, TransportError: the API server did not answer, or with another error.
    """
    try:
        return dict(await inspection.client.list_all(AUTOSCALERS, namespace))
    except NotFound:
        return {}
    except Forbidden:
        where = f"in namespace {namespace}" if namespace else "in all namespaces"
        tell(f"note: you may not list {AUTOSCALERS.plural} {where}: what scales is not shown")
        return {}
