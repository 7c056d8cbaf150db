"""Records of Kubernetes objects that are read one at a time and kept in no cache."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from spotalis.model.objects import NodeTerms


class VolumeClaim(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A PersistentVolumeClaim."""

    namespace: str
    name: str
    volume: str = ""
    """The PersistentVolume that it is bound to; empty if none."""


class Volume(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A PersistentVolume."""

    name: str
    node_terms: NodeTerms = ()
    """The nodes from which the volume can be reached."""


class Secret(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A Secret."""

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    data: Mapping[str, bytes] = {}
    json: bytes = b""
    """The whole object, so that it can be written back with other data."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An Event."""

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    involved_uid: str = ""
    """The UID of the object that the Event is about."""
    at: datetime | None = None
    """When it was last observed."""
    count: int = 1
    """How often it was observed."""
    component: str = ""
    """What reported it."""
    message: str = ""


class WebhookConfiguration(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A MutatingWebhookConfiguration."""

    name: str
    uid: str = ""
    resource_version: str = ""
    ca_bundles: tuple[tuple[str, bytes], ...] = ()
    """Of each webhook, in order: its name, and the PEM certificates that it trusts."""
