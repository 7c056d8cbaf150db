"""The API client: one method per verb; objects come back as records, errors as exceptions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

import msgspec

from spotalis.kube.decode import DECODE_ERRORS
from spotalis.kube.errors import (
    AlreadyExists,
    ApiError,
    Cause,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    TooManyRequests,
    error_from,
)
from spotalis.kube.eviction import EvictionOutcome, EvictionResult, eviction_body, outcome_of
from spotalis.kube.exchange import Exchange, NotSent, OnRequest
from spotalis.kube.limiter import RateLimiter
from spotalis.kube.resources import PODS, InvalidName, Resource
from spotalis.model.environment import Clock, Random
from spotalis.model.objects import Pod
from spotalis.model.transport import Request, Response, Transport, TransportError

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Cause",
    "Client",
    "Conflict",
    "EvictionOutcome",
    "EvictionResult",
    "Forbidden",
    "Gone",
    "NotFound",
    "Page",
    "PatchType",
    "TooManyRequests",
]

WATCH_IDLE_SECONDS = 64.0
"""Longest silence on a watch before it counts as dead.

kube-apiserver sends a bookmark every minute, at most 61.3 s apart by its code (60 s in steps of
one second, checked every 1 to 1.25 s), 61.6 s measured. A quiet watch that is taken for dead costs
one reconnect (decision 0018).
"""
PAGE_ITEMS = 250
_BATCH = 25  # objects decoded before other tasks may run
T = TypeVar("T")
Answer = TypeVar("Answer")
Raw = TypeVar("Raw")
Body = Mapping[str, object] | Sequence[Mapping[str, object]]
Query = Sequence[tuple[str, str]]


class PatchType(StrEnum):
    """The kind of a patch; the value is its content type."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; the items are still JSON, so that callers can decode them in batches."""

    items: list[msgspec.Raw]
    resource_version: str


class Client:
    """Sends requests to one API server, at a limited rate.

    Reads are retried with a jittered backoff while the server is busy or unreachable. Writes are
    not: a write without a response may have been carried out.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        rng: Random,
        limiter: RateLimiter | None = None,
        on_request: OnRequest | None = None,
        request_seconds: float = 10.0,
        list_seconds: float = 60.0,
    ) -> None:
        self._exchange = Exchange(
            transport, clock=clock, rng=rng, limiter=limiter, on_request=on_request
        )
        self.clock = clock
        self.rng = rng
        self._request_seconds = request_seconds
        self._list_seconds = list_seconds

    def clock_skew(self) -> timedelta:
        """How far the API server's clock is ahead; 0 for up to a minute (:class:`ServerClock`)."""
        return self._exchange.server_clock.skew()

    async def get(self, resource: Resource[T], namespace: str, name: str) -> T | None:
        """Read an object; None if it does not exist, without a request if it cannot exist."""
        try:
            path = resource.object_path(namespace, name)
        except InvalidName:
            return None
        response = await self._exchange.read(self._request("GET", path))
        if response.status == 404:
            return None
        return self._record(resource, response)

    async def list_all(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        quorum: bool = False,
        label_selector: str = "",
    ) -> list[T]:
        """List all objects, as of one point in time.

        With ``quorum`` that point is now. Otherwise the server may answer from its cache, which may
        lag.
        """
        if label_selector:
            resource = resource.with_labels(label_selector)
        query = [] if quorum else [("resourceVersion", "0")]
        try:
            return await self._list_by(PAGE_ITEMS, resource, namespace, query, [])
        except Gone:  # the list expired before its last page
            return await self._list_by(0, resource, namespace, query, [])

    async def list_first(self, resource: Resource[T], namespace: str, *, max_items: int) -> list[T]:
        """List about ``max_items`` objects as of now; fewer if the list expires before its end."""
        found: list[T] = []
        try:
            await self._list_by(PAGE_ITEMS, resource, namespace, [], found, max_items)
        except Gone:
            pass
        return found

    async def _list_by(
        self,
        limit: int,
        resource: Resource[T],
        namespace: str,
        query: Query,
        found: list[T],
        max_items: float = math.inf,
    ) -> list[T]:
        async with aclosing(self.pages(resource, namespace, query=query, limit=limit)) as pages:
            async for page in pages:
                for item in page.items:
                    found.append(_decode(resource.decode, item))
                    if len(found) % _BATCH == 0:
                        await asyncio.sleep(0)
                if len(found) >= max_items:
                    break
        return found

    async def pages(
        self, resource: Resource[T], namespace: str = "", *, query: Query = (), limit: int
    ) -> AsyncGenerator[Page, None]:
        """List in pages of ``limit`` items (0: in one page), as of now unless ``query`` differs.

        Raises:
            Gone: the rest of the list has expired on the server.
        """
        token = ""
        while True:
            asked = [*resource.selectors, *query]
            if limit:
                asked.append(("limit", str(limit)))
            if token:
                asked = [pair for pair in asked if pair[0] != "resourceVersion"]
                asked.append(("continue", token))
            request = self._request(
                "GET", resource.path(namespace), query=asked, seconds=self._list_seconds
            )
            body = self._checked(await self._exchange.read(request))
            answer = _decode(_LIST.decode, body)
            token = answer.metadata.continue_ or ""
            yield Page(answer.items or [], answer.metadata.resource_version)
            if not token:
                return

    async def create(self, resource: Resource[T], namespace: str, body: Mapping[str, object]) -> T:
        """Create an object and return it as stored."""
        request = self._request("POST", resource.path(namespace), body=body)
        return self._record(resource, await self._exchange.send(request))

    async def replace(
        self, resource: Resource[T], namespace: str, name: str, body: Mapping[str, object]
    ) -> T:
        """Replace a whole object and return it as stored.

        Raises:
            Conflict: its resourceVersion differs from the one in ``body``.
        """
        request = self._request("PUT", resource.object_path(namespace, name), body=body)
        return self._record(resource, await self._exchange.send(request))

    async def patch(
        self,
        resource: Resource[T],
        namespace: str,
        name: str,
        body: Body,
        *,
        patch_type: PatchType,
        subresource: str = "",
        field_manager: str = "",
    ) -> T:
        """Change parts of an object and return it."""
        query = [("fieldManager", field_manager)] if field_manager else []
        request = self._request(
            "PATCH",
            resource.object_path(namespace, name, subresource),
            query=query,
            body=body,
            content_type=patch_type.value,
        )
        return self._record(resource, await self._exchange.send(request))

    async def delete(
        self,
        resource: Resource[T],
        namespace: str,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
    ) -> bool:
        """Delete an object; returns False if it does not exist.

        Raises:
            Conflict: its UID or resourceVersion differs from the given one.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {field: value for field, value in wanted.items() if value}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        request = self._request("DELETE", resource.object_path(namespace, name), body=body)
        response = await self._exchange.send(request)
        if response.status == 404:
            return False
        self._checked(response)
        return True

    async def evict(
        self,
        pod: Pod,
        *,
        with_resource_version: bool = False,
        precondition: Callable[[], bool] = lambda: True,
    ) -> EvictionResult:
        """Evict this pod (by UID) through the Eviction API; never retried.

        Args:
            with_resource_version: fail if the pod has changed since it was read.
            precondition: called after the rate limit has been passed; if it returns False, nothing
                is sent.
        """
        body = eviction_body(pod, with_resource_version=with_resource_version)
        path = PODS.object_path(pod.namespace, pod.name, "eviction")
        return await self._end(self._request("POST", path, body=body), precondition)

    async def delete_pod(self, pod: Pod, *, precondition: Callable[[], bool]) -> EvictionResult:
        """Delete this pod (by UID) regardless of disruption budgets; never retried.

        ``precondition``: as for :meth:`evict`.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}}
        path = PODS.object_path(pod.namespace, pod.name)
        return await self._end(self._request("DELETE", path, body=body), precondition)

    async def _end(self, request: Request, precondition: Callable[[], bool]) -> EvictionResult:
        try:
            response = await self._exchange.send(request, precondition)
        except NotSent:
            return EvictionResult(
                EvictionOutcome.NOT_SENT,
                "no longer authorized when it was due",
            )
        except TransportError as error:
            lost = EvictionOutcome.UNKNOWN if error.maybe_sent else EvictionOutcome.NOT_SENT
            return EvictionResult(lost, str(error))
        return outcome_of(response, self.clock.now())

    async def raw(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        query: Query = (),
        *,
        content_type: str = "application/json",
    ) -> Response:
        """Send one request and return the response, whatever its status; never retried."""
        request = self._request(method, path, query=query, body=body, content_type=content_type)
        return await self._exchange.send(request)

    def stream(
        self, path: str, query: Query, *, silence_seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """Stream the bytes of a watch; raises as ``Transport.stream`` does."""
        return self._exchange.stream(
            Request(method="GET", path=path, query=tuple(query), timeout_seconds=silence_seconds)
        )

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Body | None = None,
        content_type: str = "application/json",
        seconds: float | None = None,
    ) -> Request:
        return Request(
            method=method,
            path=path,
            query=tuple(query),
            body=b"" if body is None else msgspec.json.encode(body),
            content_type=content_type,
            timeout_seconds=self._request_seconds if seconds is None else seconds,
        )

    def _checked(self, response: Response) -> bytes:
        if response.status >= 300:
            raise error_from(response, self.clock.now())
        return response.body

    def _record(self, resource: Resource[T], response: Response) -> T:
        return _decode(resource.decode, self._checked(response))


def _decode(read: Callable[[Raw], Answer], raw: Raw) -> Answer:
    try:
        return read(raw)
    except DECODE_ERRORS as error:  # a page of a proxy, a truncated response, another kind
        raise TransportError(f"the response cannot be decoded: {error}") from error


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str | None = msgspec.field(name="continue", default=None)


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_LIST = msgspec.json.Decoder(_List)
