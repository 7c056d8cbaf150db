"""What a script sees of a bed: requests, waiting, and the history that it leaves behind."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spotalis.model.transport import Request, Response, StreamRefused, Transport
from tests.conformance.history import History, Json
from tests.conformance.hooks import Hooks

JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 20.0
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


class NeverHappened(AssertionError):
    """What a script waited for did not come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as it came."""

    status: int
    body: Any

    @property
    def uid(self) -> str:
        """Of the object in it."""
        return str(self.body["metadata"]["uid"])

    @property
    def version(self) -> str:
        """Of the object or list in it."""
        return str(self.body["metadata"]["resourceVersion"])


class Session:
    """One script's way to one bed; what it does is remembered, but for ``quiet``."""

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        hooks: Hooks,
        forget: Callable[[], Awaitable[None]],
    ) -> None:
        """``forget`` makes the bed's store forget how everything was."""
        self._transport = transport
        self._hooks = hooks
        self.forget = forget
        self.namespace = namespace
        self.history: History = []
        self._watches: list[Watching] = []

    @property
    def quiet(self) -> Session:
        """The same way, and nothing of it is remembered."""
        found = copy.copy(self)
        found.history = []
        return found

    def path(self, where: str) -> str:
        """The path of ``pods/web/status``; what begins with a slash is one already."""
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
    ) -> Answer:
        """Send one request and remember what came of it."""
        encoded = body if isinstance(body, bytes) else b"" if body is None else _encoded(body)
        request = Request(
            method=method,
            path=self.path(where),
            query=tuple(query.items()),
            body=encoded,
            content_type=content_type,
            timeout_seconds=PATIENCE_SECONDS,
        )
        response = await self._transport.send(request)
        answer = Answer(response.status, _decoded(response.body))
        self._remember(f"{method} {where}{_shown(query)}", response, answer.body)
        return answer

    async def get(self, where: str, **query: str) -> Answer:
        return await self.send("GET", where, **query)

    async def post(self, where: str, body: Any, **query: str) -> Answer:
        return await self.send("POST", where, body, **query)

    async def put(self, where: str, body: Any, **query: str) -> Answer:
        return await self.send("PUT", where, body, **query)

    async def patch(self, where: str, body: Any, kind: str = MERGE, **query: str) -> Answer:
        return await self.send("PATCH", where, body, content_type=kind, **query)

    async def delete(self, where: str, options: Json | None = None, **query: str) -> Answer:
        return await self.send("DELETE", where, options, **query)

    async def evict(self, pod: str, **delete_options: Any) -> Answer:
        """Ask for the eviction of a pod."""
        body: Json = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        if delete_options:
            body["deleteOptions"] = delete_options
        return await self.post(f"pods/{pod}/eviction", body)

    def note(self, what: str, value: Any) -> None:
        """Remember something that a script found out."""
        self.history.append({"did": f"note {what}", "body": value})

    async def until(self, where: str, holds: Callable[[Any], Any], what: str, **query: str) -> Any:
        """Read ``where`` until it is as wanted; what was read then. Nothing of it is remembered.

        A refusal is given to ``holds`` too.
        """
        waited = 0.0
        while True:
            answer = await self.quiet.get(where, **query)
            if _holds(holds, answer.body):
                return answer.body
            if waited >= PATIENCE_SECONDS:
                raise NeverHappened(f"{what}; at last: {json.dumps(answer.body)[:3000]}")
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS

    async def gone(self, where: str) -> None:
        """Wait until there is no such object."""
        await self.until(where, lambda found: found.get("code") == 404, f"{where} is gone")

    async def watch(self, where: str, *, events: int = 0, **query: str) -> list[Json]:
        """Remember a watch: so many events of it, or what comes until the server ends it.

        Without ``events`` the server is asked to end it after a second.
        """
        if not events:
            query.setdefault("timeoutSeconds", "1")
        opened = await self.follow(where, **query)
        return await opened.end(events)

    async def watch_until(self, where: str, version: str, **query: str) -> None:
        """Remember a watch up to, and without, the event with this version."""
        opened = await self.follow(where, **query)
        seen = await opened.saw(
            lambda events: any(_version_of(one) == version for one in events), f"version {version}"
        )
        await opened.close()
        opened.remember([_version_of(one) for one in seen].index(version))

    async def follow(self, where: str, **query: str) -> Watching:
        """Open a watch and go on; ``end`` remembers what it saw."""
        request = Request(
            method="GET",
            path=self.path(where),
            query=(("watch", "true"), *query.items()),
            timeout_seconds=PATIENCE_SECONDS + float(query.get("timeoutSeconds", 0)),
        )
        opened = Watching(self, f"WATCH {where}{_shown(query)}", self._transport, request)
        self._watches.append(opened)
        return opened

    async def close(self) -> None:
        """End every watch that a failed script left open."""
        for opened in self._watches:
            await opened.close()

    async def pause(self, seconds: float) -> None:
        """Let so much time of the bed pass; only where nothing can be waited for."""
        await asyncio.sleep(seconds)

    async def heeded(self, meter: str) -> None:
        """Create a pod that will never be, until the API server asks a webhook about it."""
        probe = {
            "metadata": {"name": "probe"},
            "spec": {"containers": [{"name": "main", "image": "i"}], "schedulerName": "nobody"},
        }
        waited = 0.0
        while meter not in self._hooks.seen:
            if waited >= PATIENCE_SECONDS:
                raise NeverHappened(f"the API server asks {meter}")
            await self.quiet.post("pods", probe, dryRun="All")
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS

    def hook(self, path: str) -> Json:
        """The ``clientConfig`` of the webhook that answers as ``path`` says."""
        return self._hooks.client_config(f"{path}/{self.namespace}")

    def reviews(self) -> list[Json]:
        """What webhooks were asked about pods of this namespace, in order."""
        return [one for one in self._hooks.reviews if one["namespace"] == self.namespace]

    def _remember(self, did: str, response: Response, body: Any) -> None:
        step: Json = {"did": did, "status": response.status, "body": body}
        for header in ("retry-after", "warning"):
            if header in response.headers:
                step[header] = response.headers[header]
        self.history.append(step)

    def remember_watch(self, did: str, events: Sequence[Json], refused: Response | None) -> None:
        """Remember a watch that has ended."""
        if refused is not None:
            self._remember(did, refused, _decoded(refused.body))
        else:
            self.history.append({"did": did, "status": 200, "events": list(events)})


class Watching:
    """A watch that runs beside its script."""

    def __init__(self, session: Session, did: str, transport: Transport, request: Request) -> None:
        self._session = session
        self._did = did
        self._events: list[Json] = []
        self._patience = request.timeout_seconds
        self._refused: Response | None = None
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(transport, request))

    async def end(self, events: int = 0) -> list[Json]:
        """Wait for so many events, or for the server to end the watch; remember what came."""
        while (not events or len(self._events) < events) and not self._task.done():
            waiting = asyncio.create_task(self._news.wait())
            await asyncio.wait(
                (waiting, self._task),
                return_when=asyncio.FIRST_COMPLETED,
                timeout=self._patience,
            )
            if not waiting.done() and not self._task.done():
                waiting.cancel()
                raise NeverHappened(f"{events} events of {self._did}; came: {self._events}")
            waiting.cancel()
            self._news.clear()
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        await self.close()
        return self.remember(events or len(self._events))

    async def came(self, events: int) -> list[Json]:
        """Wait until so many events have come; all that have."""
        return await self.saw(lambda seen: len(seen) >= events, f"{events} events")

    async def saw(self, holds: Callable[[list[Json]], Any], what: str) -> list[Json]:
        """Wait until what has come is enough, which may be a moment after a list has it."""
        waited = 0.0
        while not holds(self._events):
            if waited >= PATIENCE_SECONDS:
                raise NeverHappened(f"{what} of {self._did}; came: {self._events}")
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        return list(self._events)

    def remember(self, events: int) -> list[Json]:
        """Remember the first so many events."""
        seen = self._events[:events]
        self._session.remember_watch(self._did, seen, self._refused)
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
                self._news.set()
        except StreamRefused as refused:
            self._refused = refused.response


def _version_of(event: Json) -> str:
    return str(event["object"].get("metadata", {}).get("resourceVersion", ""))


def _holds(holds: Callable[[Any], Any], body: Any) -> bool:
    """What is not there yet does not hold yet."""
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
    """A query for a step's name: without what differs from bed to bed."""
    told = {
        key: "..." if key == "continue" or (key == "resourceVersion" and len(value) > 1) else value
        for key, value in query.items()
    }
    return "?" + "&".join(f"{key}={value}" for key, value in told.items()) if told else ""
