"""Read the policy of a workload."""

from __future__ import annotations

from collections.abc import Mapping

from spotalis.model.configuration import (
    WorkloadConfiguration,
    read_configuration,
)
from spotalis.model.objects import PREFIX, Namespace
from tests.support.builders import (
    DEPLOYMENT,
    a_namespace,
    workload_named_api,
)

ON = {PREFIX + "enabled": "true"}
OFF = {PREFIX + "enabled": "false"}
INVALID = {PREFIX + "enabled": "yes"}
NOTHING: Mapping[str, str] = {}


def read(
    annotations: Mapping[str, str] | None = None,
    *,
    labels: Mapping[str, str] = ON,
    namespace: Namespace | None = None,
    defaults: Mapping[str, str] | None = None,
    kind: str = DEPLOYMENT,
    replicas: int = 10,
    template_keys: tuple[str, ...] = (),
) -> WorkloadConfiguration:
    """The policy of the workload ``shop/api``, which a label enables by default."""
    workload = workload_named_api(
        kind=kind,
        replicas=replicas,
        labels=labels,
        annotations=annotations or {},
        template_keys=template_keys,
    )
    return read_configuration(
        workload, a_namespace() if namespace is None else namespace, defaults or {}
    )
