"""Who asked for what, and what became of it: the API server's audit log, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError
from spotalis.model.environment import Clock


@dataclass(slots=True, kw_only=True)
class AuditEntry:
    """One request that has been answered, or a stream that has begun to be."""

    verb: str
    """``get``, ``list``, ``watch``, ``create``, ``update``, ``patch`` or ``delete``."""
    plural: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    """Of a created object: the name it got."""
    user: str
    at: datetime
    """When it was received."""
    code: int = 0
    """HTTP status of the answer; 0 while there is none."""
    dry_run: bool = False
    request: Object | None = None
    """The body, of evictions only."""
    annotations: dict[str, str] = field(default_factory=dict)
    """What admission had to add, by ``webhook name/key``."""


class Audit:
    """The log, oldest entry first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.entries: list[AuditEntry] = []

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
        """Log what happens in the block; ``code`` stands unless it raises an ApiError."""
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
        self.entries.append(entry)
        try:
            yield entry
        except ApiError as refused:
            entry.code = refused.status
            raise
        entry.code = entry.code or code

    def find(self, *, user: str = "", verb: str = "", kind: str = "") -> list[AuditEntry]:
        """The entries of a user, of a verb, of ``pods`` or ``pods/eviction``; all by default."""
        return [
            entry
            for entry in self.entries
            if (not user or entry.user == user)
            and (not verb or entry.verb == verb)
            and (not kind or kind == resource_of(entry))
        ]

    def evictions(self, user: str = "") -> list[AuditEntry]:
        """Successful evictions that were no dry runs."""
        return [
            entry
            for entry in self.find(user=user, verb="create", kind="pods/eviction")
            if 200 <= entry.code < 300 and not entry.dry_run
        ]


def resource_of(entry: AuditEntry) -> str:
    """Resource and subresource: ``pods/eviction``."""
    return f"{entry.plural}/{entry.subresource}" if entry.subresource else entry.plural
