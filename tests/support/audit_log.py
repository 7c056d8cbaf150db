"""The audit log of the API server, read while it is written: every request and its user."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

Json = dict[str, Any]


class AuditLogRotated(Exception):
    """The API server has started another file: counts would be too small."""


@dataclass(frozen=True)
class AuditEvent:
    """One line of the audit log: one stage of one request.

    verb:            get, list, watch, create, update, patch, delete, deletecollection.
    resource, subresource, api_group, namespace, name: of the object; empty if the request has
                     none. A create with generateName has no name.
    user:            the full user name, such as "system:serviceaccount:spotalis-system:spotalis".
    code:            the HTTP status of the response; 0 if there was none.
    stage:           "ResponseComplete" when the request has ended, "ResponseStarted" when a watch
                     has begun, "Panic".
    received:        when the API server received the request (UTC).
    timestamp:       when the request reached this stage (UTC).
    uri:             path and query.
    request, response: the bodies, for pods/eviction and mutatingwebhookconfigurations; else None.
    annotations:     the audit annotations, including those of webhooks.
    """

    id: str
    verb: str
    resource: str
    subresource: str
    api_group: str
    namespace: str
    name: str
    user: str
    code: int
    stage: str
    received: datetime
    timestamp: datetime
    uri: str
    user_agent: str
    request: Json | None
    response: Json | None
    annotations: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Resource and subresource as in RBAC rules: "pods", "pods/eviction"."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def is_dry_run(self) -> bool:
        """True for a dry run."""
        options = (self.request or {}).get("deleteOptions") or {}
        return "dryRun=" in self.uri or bool(options.get("dryRun"))

    @property
    def precondition_uid(self) -> str | None:
        """The pod UID in the precondition of an eviction, or None."""
        options = (self.request or {}).get("deleteOptions") or {}
        uid = (options.get("preconditions") or {}).get("uid")
        return None if uid is None else str(uid)

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Parse a line of the log.

        Raises:
            ValueError, KeyError: it is not a line of an audit log.
        """
        event: Json = json.loads(line)
        target: Json = event.get("objectRef") or {}
        return cls(
            id=event["auditID"],
            verb=event["verb"],
            resource=target.get("resource", ""),
            subresource=target.get("subresource", ""),
            api_group=target.get("apiGroup", ""),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            user=event["user"].get("username", ""),
            code=(event.get("responseStatus") or {}).get("code", 0),
            stage=event["stage"],
            received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
            timestamp=datetime.fromisoformat(event["stageTimestamp"]),
            uri=event["requestURI"],
            user_agent=event.get("userAgent", ""),
            request=event.get("requestObject"),
            response=event.get("responseObject"),
            annotations=event.get("annotations") or {},
        )


class AuditLog:
    """A growing audit log. Parses every line once. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Takes the file, which must exist when `events` is called."""
        self._path = path
        self._lock = threading.Lock()
        self._offset = 0
        self._events: list[AuditEvent] = []

    def events(self) -> list[AuditEvent]:
        """Return all events in the order of their lines, without an incomplete last line.

        Raises:
            AuditLogRotated: a part of the events is in another file.
        """
        with self._lock:
            if rotated := sorted(self._path.parent.glob(f"{self._path.stem}-2*")):  # and the date
                raise AuditLogRotated(f"rotated: {', '.join(map(str, rotated))}")
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._events += [AuditEvent.parse(line) for line in whole.splitlines()]
            return list(self._events)
