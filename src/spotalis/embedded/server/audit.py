"""The audit log of the API server, in memory: the requests, their users and their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError
from spotalis.model.environment import Clock

MAX_ENTRIES = 10_000
"""The minimum number of recent entries that are kept; between one and two times as many are held.

About six hours of requests of an instance of Spotalis, which renews its Lease every 2 s.
"""


@dataclass(slots=True, kw_only=True)
class AuditEntry:
    """One request that has been answered, or a watch that has started."""

    verb: str
    """``get``, ``list``, ``watch``, ``create``, ``update``, ``patch`` or ``delete``."""
    plural: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    """For created objects: the name that the object got."""
    user: str
    at: datetime
    """When the request was received."""
    code: int = 0
    """HTTP status of the response; 0 if there is none yet."""
    dry_run: bool = False
    request: Object | None = None
    """The body, for evictions only."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Audit annotations of webhooks, keyed by ``webhook name/key``."""


class Audit:
    """The log, oldest entry first."""

    def __init__(self, clock: Clock, *, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self.entries: list[AuditEntry] = []
        self._evictions: list[AuditEntry] = []

    @contextmanager
    def entry(
        self,
        verb: str,
        plural: str,
        namespace: str,
        name: str,
        user: str,
        *,
        subresource: str = "",
        code: int = 200,
        dry_run: bool = False,
    ) -> Iterator[AuditEntry]:
        """Log the request that the block handles; an ApiError overrides ``code``."""
        entry = AuditEntry(
            verb=verb,
            plural=plural,
            subresource=subresource,
            namespace=namespace,
            name=name,
            user=user,
            at=self._clock.now(),
            dry_run=dry_run,
        )
        self._append(self.entries, entry)
        if verb == "create" and resource_of(entry) == "pods/eviction":
            self._append(self._evictions, entry)
        try:
            yield entry
        except ApiError as refused:
            entry.code = refused.status
            raise
        entry.code = entry.code or code

    def find(self, *, user: str = "", verb: str = "", kind: str = "") -> list[AuditEntry]:
        """Filter the entries; ``kind`` is a resource such as ``pods`` or ``pods/eviction``."""
        return [
            entry
            for entry in self.entries
            if (not user or entry.user == user)
            and (not verb or entry.verb == verb)
            and (not kind or kind == resource_of(entry))
        ]

    def evictions(self, user: str = "") -> list[AuditEntry]:
        """Successful evictions, without dry runs."""
        return [
            entry
            for entry in self._evictions
            if (not user or entry.user == user)
            and 200 <= entry.code < 300
            and not entry.dry_run
        ]  # fmt: skip

    def _append(self, entries: list[AuditEntry], entry: AuditEntry) -> None:
        entries.append(entry)
        if len(entries) > 2 * self._max_entries:
            del entries[: self._max_entries]


def resource_of(entry: AuditEntry) -> str:
    """Resource and subresource, as in ``pods/eviction``."""
    return f"{entry.plural}/{entry.subresource}" if entry.subresource else entry.plural
