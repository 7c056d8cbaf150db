"""Decode the kinds with few fields: namespaces, leases, claims, ledgers, Secrets, Events."""

from __future__ import annotations

from datetime import date, datetime
from sys import intern

import msgspec

from spotalis.kube.decode.metadata import DECODE_ERRORS, Metadata, Wire, own_keys
from spotalis.model import objects, single_objects
from spotalis.model.ledger import SCHEMA, Ledger, LedgerObject
from spotalis.model.spot_knowledge import SCHEMA as SPOT_SCHEMA
from spotalis.model.spot_knowledge import SpotKnowledge


class _Namespace(Wire):
    metadata: Metadata


class _LeaseSpec(Wire):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    renew_time: str | None = None
    acquire_time: str | None = None


class _Lease(Wire):
    metadata: Metadata
    spec: _LeaseSpec | None = None


class _VolumeClaimSpec(Wire):
    volume_name: str | None = None


class _VolumeClaim(Wire):
    metadata: Metadata
    spec: _VolumeClaimSpec | None = None


class _LedgerData(Wire):
    ledger: str = ""
    groups: str = "{}"
    spot: str = ""


class _LedgerConfigMap(Wire):
    metadata: Metadata
    data: _LedgerData | None = None


class _GroupVersion(Wire):
    version: str = ""


class _ApiGroup(Wire):
    preferred_version: _GroupVersion | None = None


class _Secret(Wire):
    metadata: Metadata
    data: dict[str, bytes] | None = None


class _ObjectReference(Wire):
    uid: str = ""


class _EventSource(Wire):
    component: str | None = None


class _Event(Wire):
    metadata: Metadata
    involved_object: _ObjectReference | None = None
    source: _EventSource | None = None
    reporting_component: str | None = None
    message: str | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    count: int | None = None


class _ClientConfig(Wire):
    ca_bundle: bytes | None = None


class _Webhook(Wire):
    name: str
    client_config: _ClientConfig | None = None


class _WebhookConfiguration(Wire):
    metadata: Metadata
    webhooks: list[_Webhook] | None = None


def namespace(raw: bytes | msgspec.Raw) -> objects.Namespace:
    """Decode a Namespace."""
    metadata = _NAMESPACE.decode(raw).metadata
    return objects.Namespace(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=metadata.labels or {},
        annotations=own_keys(metadata.annotations)[0],
        deleting_at=metadata.deletion_timestamp,
    )


def lease(raw: bytes | msgspec.Raw) -> objects.Lease:
    """Decode a Lease."""
    written = _LEASE.decode(raw)
    metadata, spec = written.metadata, written.spec or _LeaseSpec()
    return objects.Lease(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        holder=spec.holder_identity or "",
        duration_seconds=spec.lease_duration_seconds or 0,
        transitions=spec.lease_transitions or 0,
        renewed_at=spec.renew_time or "",
        acquired_at=spec.acquire_time or "",
        annotations=metadata.annotations or {},
    )


def volume_claim(raw: bytes | msgspec.Raw) -> single_objects.VolumeClaim:
    """Decode a PersistentVolumeClaim."""
    written = _VOLUME_CLAIM.decode(raw)
    metadata, spec = written.metadata, written.spec or _VolumeClaimSpec()
    return single_objects.VolumeClaim(
        namespace=metadata.namespace, name=metadata.name, volume=spec.volume_name or ""
    )


def ledger(raw: bytes | msgspec.Raw) -> LedgerObject:
    """Decode a ConfigMap that holds a ledger, the provider groups, or what is known about spot.

    ``ledger`` is None if another version of Spotalis wrote it, or if it names no workload. A
    damaged memory is empty.
    """
    written = _LEDGER_CONFIG_MAP.decode(raw)
    metadata, data = written.metadata, written.data or _LedgerData()
    try:
        content = _LEDGER.decode(data.ledger)
    except DECODE_ERRORS:
        content = None
    try:
        group_memory = _GROUP_MEMORY.decode(data.groups)
    except DECODE_ERRORS:
        group_memory = {}
    try:
        known = _SPOT_KNOWLEDGE.decode(data.spot or "{}")
    except DECODE_ERRORS:
        known = SpotKnowledge()
    return LedgerObject(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        ledger=content if content is not None and _is_supported(content) else None,
        group_memory=group_memory,
        spot=known.records if known.schema == SPOT_SCHEMA else (),
    )


def preferred_version(raw: bytes | msgspec.Raw) -> str:
    """The preferred version in an APIGroup; empty if it has none."""
    preferred = _API_GROUP.decode(raw).preferred_version
    return preferred.version if preferred else ""


def secret(raw: bytes | msgspec.Raw) -> single_objects.Secret:
    """Decode a Secret; its JSON is kept, so that it can be written back with other data."""
    written = _SECRET.decode(raw)
    metadata = written.metadata
    return single_objects.Secret(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        data=written.data or {},
        json=bytes(raw),
    )


def event(raw: bytes | msgspec.Raw) -> single_objects.Event:
    """Decode an Event of the core group or of ``events.k8s.io``."""
    written = _EVENT.decode(raw)
    metadata, source = written.metadata, written.source or _EventSource()
    return single_objects.Event(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        involved_uid=written.involved_object.uid if written.involved_object else "",
        at=written.last_timestamp or written.event_time,
        count=written.count or 1,
        component=written.reporting_component or source.component or "",
        message=written.message or "",
    )


def webhook_configuration(raw: bytes | msgspec.Raw) -> single_objects.WebhookConfiguration:
    """Decode a MutatingWebhookConfiguration."""
    written = _WEBHOOK_CONFIGURATION.decode(raw)
    metadata = written.metadata
    return single_objects.WebhookConfiguration(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        ca_bundles=tuple(
            (webhook.name, (webhook.client_config and webhook.client_config.ca_bundle) or b"")
            for webhook in written.webhooks or ()
        ),
    )


def _is_supported(ledger: Ledger) -> bool:
    return ledger.schema == SCHEMA and ledger.workload.count("/") == 2


_NAMESPACE = msgspec.json.Decoder(_Namespace)
_LEASE = msgspec.json.Decoder(_Lease)
_VOLUME_CLAIM = msgspec.json.Decoder(_VolumeClaim)
_LEDGER_CONFIG_MAP = msgspec.json.Decoder(_LedgerConfigMap)
_API_GROUP = msgspec.json.Decoder(_ApiGroup)
_LEDGER = msgspec.json.Decoder(Ledger)
_GROUP_MEMORY = msgspec.json.Decoder(dict[str, date])
_SPOT_KNOWLEDGE = msgspec.json.Decoder(SpotKnowledge)
_SECRET = msgspec.json.Decoder(_Secret)
_EVENT = msgspec.json.Decoder(_Event)
_WEBHOOK_CONFIGURATION = msgspec.json.Decoder(_WebhookConfiguration)
