"""The interface of a script to a cluster: requests, waiting, and the recorded history."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spotalis.model.transport import Request, Response, StreamRefused, Transport
from tests.conformance.history import History, Json
from tests.conformance.webhooks import WebhookServer

JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

POLL_SECONDS = 0.05
TIMEOUT_SECONDS = 20.0
_GROUPS = {
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "controllerrevisions": "/apis/apps/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "mutatingwebhookconfigurations": "/apis/admissionregistration.k8s.io/v1",
}
_CLUSTER_WIDE = ("namespaces", "nodes", "persistentvolumes", "mutatingwebhookconfigurations")


class ConditionNotMet(AssertionError):
    """A condition that a script waited for was not met in time."""


@dataclass(frozen=True, slots=True)
class ScriptResponse:
    """A response, decoded."""

    status: int
    body: Any

    @property
    def uid(self) -> str:
        """The UID of the object."""
        return str(self.body["metadata"]["uid"])

    @property
    def version(self) -> str:
        """The version of the object or list."""
        return str(self.body["metadata"]["resourceVersion"])


class Session:
    """The connection of one script to one cluster; it records requests, except with ``quiet``."""

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        webhooks: WebhookServer,
        compact: Callable[[], Awaitable[None]],
    ) -> None:
        """``compact`` drops the history of the store of the cluster."""
        self._transport = transport
        self._webhooks = webhooks
        self.compact = compact
        self.namespace = namespace
        self.history: History = []
        self._watches: list[OpenWatch] = []

    @property
    def quiet(self) -> Session:
        """The same connection without recording."""
        found = copy.copy(self)
        found.history = []
        return found

    def path(self, where: str) -> str:
        """The URL path of ``pods/web/status``; text that starts with a slash is a path already."""
        if where.startswith("/"):
            return where.replace("{namespace}", self.namespace)
        plural = where.partition("/")[0]
        base = _GROUPS.get(plural, "/api/v1")
        if plural not in _CLUSTER_WIDE:
            base += f"/namespaces/{self.namespace}"
        return f"{base}/{where}"

    async def send(
        self,
        method: str,
        where: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        **query: str,
    ) -> ScriptResponse:
        """Send one request, and record the response."""
        encoded = body if isinstance(body, bytes) else b"" if body is None else _encoded(body)
        request = Request(
            method=method,
            path=self.path(where),
            query=tuple(query.items()),
            body=encoded,
            content_type=content_type,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        response = await self._transport.send(request)
        answer = ScriptResponse(response.status, _decoded(response.body))
        self._record(f"{method} {where}{_shown(query)}", response, answer.body)
        return answer

    async def get(self, where: str, **query: str) -> ScriptResponse:
        return await self.send("GET", where, **query)

    async def post(self, where: str, body: Any, **query: str) -> ScriptResponse:
        return await self.send("POST", where, body, **query)

    async def put(self, where: str, body: Any, **query: str) -> ScriptResponse:
        return await self.send("PUT", where, body, **query)

    async def patch(self, where: str, body: Any, kind: str = MERGE, **query: str) -> ScriptResponse:
        return await self.send("PATCH", where, body, content_type=kind, **query)

    async def delete(self, where: str, options: Json | None = None, **query: str) -> ScriptResponse:
        return await self.send("DELETE", where, options, **query)

    async def evict(self, pod: str, **delete_options: Any) -> ScriptResponse:
        """Request the eviction of a pod."""
        body: Json = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        if delete_options:
            body["deleteOptions"] = delete_options
        return await self.post(f"pods/{pod}/eviction", body)

    def note(self, what: str, value: Any) -> None:
        """Record a value."""
        self.history.append({"did": f"note {what}", "body": value})

    async def until(self, where: str, holds: Callable[[Any], Any], what: str, **query: str) -> Any:
        """Read ``where`` until the condition holds; returns the last body. Nothing is recorded.

        ``holds`` gets error responses too.
        """
        waited = 0.0
        while True:
            answer = await self.quiet.get(where, **query)
            if _holds(holds, answer.body):
                return answer.body
            if waited >= TIMEOUT_SECONDS:
                raise ConditionNotMet(f"{what}; last response: {json.dumps(answer.body)[:3000]}")
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS

    async def until_gone(self, where: str) -> None:
        """Wait until the object does not exist."""
        await self.until(where, lambda found: found.get("code") == 404, f"{where} does not exist")

    async def watch(self, where: str, *, events: int = 0, **query: str) -> list[Json]:
        """Record the first ``events`` events of a watch, or all until the server ends it.

        Without ``events`` the server is asked to end the watch after one second.
        """
        if not events:
            query.setdefault("timeoutSeconds", "1")
        opened = await self.follow(where, **query)
        return await opened.end(events)

    async def watch_until(self, where: str, version: str, **query: str) -> None:
        """Record a watch up to the event with this version, which is excluded."""
        opened = await self.follow(where, **query)
        seen = await opened.until(
            lambda events: any(_version_of(one) == version for one in events), f"version {version}"
        )
        await opened.close()
        opened.record([_version_of(one) for one in seen].index(version))

    async def follow(self, where: str, **query: str) -> OpenWatch:
        """Open a watch; ``end`` records its events."""
        request = Request(
            method="GET",
            path=self.path(where),
            query=(("watch", "true"), *query.items()),
            timeout_seconds=TIMEOUT_SECONDS + float(query.get("timeoutSeconds", 0)),
        )
        opened = OpenWatch(self, f"WATCH {where}{_shown(query)}", self._transport, request)
        self._watches.append(opened)
        return opened

    async def close(self) -> None:
        """End the watches that a failed script left open."""
        for opened in self._watches:
            await opened.close()

    async def pause(self, seconds: float) -> None:
        """Wait; only for changes that cannot be observed."""
        await asyncio.sleep(seconds)

    async def wait_for_webhook(self, meter: str) -> None:
        """Create pods in dry runs until the API server calls the webhook ``meter``."""
        probe = {
            "metadata": {"name": "probe"},
            "spec": {"containers": [{"name": "main", "image": "i"}], "schedulerName": "none"},
        }
        waited = 0.0
        while meter not in self._webhooks.seen:
            if waited >= TIMEOUT_SECONDS:
                raise ConditionNotMet(f"the API server calls {meter}")
            await self.quiet.post("pods", probe, dryRun="All")
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS

    def webhook(self, path: str) -> Json:
        """The ``clientConfig`` of the webhook with the behavior ``path``."""
        return self._webhooks.client_config(f"{path}/{self.namespace}")

    def admission_requests(self) -> list[Json]:
        """The admission requests for pods of this namespace, in order."""
        return [one for one in self._webhooks.requests if one["namespace"] == self.namespace]

    def _record(self, did: str, response: Response, body: Any) -> None:
        step: Json = {"did": did, "status": response.status, "body": body}
        for header in ("retry-after", "warning"):
            if header in response.headers:
                step[header] = response.headers[header]
        self.history.append(step)

    def record_watch(self, did: str, events: Sequence[Json], refused: Response | None) -> None:
        """Record a watch that has ended."""
        if refused is not None:
            self._record(did, refused, _decoded(refused.body))
        else:
            self.history.append({"did": did, "status": 200, "events": list(events)})


class OpenWatch:
    """A watch that runs concurrently with its script."""

    def __init__(self, session: Session, did: str, transport: Transport, request: Request) -> None:
        self._session = session
        self._did = did
        self._events: list[Json] = []
        self._timeout = request.timeout_seconds
        self._refused: Response | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(transport, request))

    async def end(self, events: int = 0) -> list[Json]:
        """Wait for the number of events, or until the server ends the watch, and record them."""
        while (not events or len(self._events) < events) and not self._task.done():
            waiting = asyncio.create_task(self._changed.wait())
            await asyncio.wait(
                (waiting, self._task),
                return_when=asyncio.FIRST_COMPLETED,
                timeout=self._timeout,
            )
            if not waiting.done() and not self._task.done():
                waiting.cancel()
                raise ConditionNotMet(f"{events} events of {self._did}; received: {self._events}")
            waiting.cancel()
            self._changed.clear()
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        await self.close()
        return self.record(events or len(self._events))

    async def until_events(self, events: int) -> list[Json]:
        """Wait for a number of events; returns all events so far."""
        return await self.until(lambda seen: len(seen) >= events, f"{events} events")

    async def until(self, holds: Callable[[list[Json]], Any], what: str) -> list[Json]:
        """Wait until the events meet a condition, which may be later than in a list."""
        waited = 0.0
        while not holds(self._events):
            if waited >= TIMEOUT_SECONDS:
                raise ConditionNotMet(f"{what} of {self._did}; received: {self._events}")
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        return list(self._events)

    def record(self, events: int) -> list[Json]:
        """Record the first ``events`` events."""
        seen = self._events[:events]
        self._session.record_watch(self._did, seen, self._refused)
        return seen

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, transport: Transport, request: Request) -> None:
        rest = b""
        try:
            async for chunk in transport.stream(request):
                *lines, rest = (rest + chunk).split(b"\n")
                self._events += [json.loads(line) for line in lines if line.strip()]
                self._changed.set()
        except StreamRefused as refused:
            self._refused = refused.response


def _version_of(event: Json) -> str:
    return str(event["object"].get("metadata", {}).get("resourceVersion", ""))


def _holds(holds: Callable[[Any], Any], body: Any) -> bool:
    """Whether the condition holds; it does not if a field is absent."""
    try:
        return bool(holds(body))
    except (KeyError, IndexError, TypeError, AttributeError):
        return False


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _shown(query: Mapping[str, str]) -> str:
    """The query for the name of a step, without values that differ between clusters."""
    shown = {
        key: "..." if key == "continue" or (key == "resourceVersion" and len(value) > 1) else value
        for key, value in query.items()
    }
    return "?" + "&".join(f"{key}={value}" for key, value in shown.items()) if shown else ""
