"""The HTTPS server that the API server calls for each new pod.

Its limits, and where they come from:

* Idle connections stay open for 600 s, far longer than Go's 90 s: Go does not repeat a POST on a
  connection that the server closes at the same time, and the pod would not be placed.
* Bodies may have up to 7 MiB, as in controller-runtime: a request contains a whole object, and
  etcd's 1.5 MiB grow when encoded as JSON. The default of most frameworks is 1 MiB.
* A body is kept only while it may be valid: a Content-Length beyond the limit is rejected unread,
  a chunked body is cut off at the limit, and compressed bodies are rejected. Bodies above
  ``LARGE_BYTES`` share the memory of ``_MAX_LARGE_BODIES`` bodies of the maximum size, and slow
  ones give way (:mod:`spotalis.webhook.bodies`). Ordinary requests never wait for large ones.
* A decoded body takes up to 27 times its size (``{},{},``), so the number of values is limited
  (:mod:`spotalis.webhook.admission_review`), and no request is kept decoded while it waits.
  Requests therefore need no limit besides that of connections, each of which has one at a time.
  Hostile clients can claim the memory of the connections, of two large bodies of 7 MiB, of 128
  ordinary ones of 32 KiB, and 9 MB for a decoded one (``tests/contract/test_hostile_callers.py``
  compares it with the limit in the manifest).
* Reading and answering have deadlines, so that no client holds resources for longer.
* ``/forward`` is for other instances only, which present a certificate of their own authority
  (:mod:`spotalis.webhook.client_auth`).
* TLS 1.3 by default; a new certificate needs no restart
  (:mod:`spotalis.webhook.serving_certificate`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

from aiohttp import web

from spotalis import logs
from spotalis.kube.waiting import DeadlineExceededError, within
from spotalis.model.environment import Clock
from spotalis.model.errors import error_json
from spotalis.web.connections import Connection, connection_of
from spotalis.web.event_loop_budget import EventLoopBudget
from spotalis.web.listener import Listener
from spotalis.webhook.bodies import BodyReader, overloaded, too_large
from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.errors import ErrorCode, RequestRejected
from spotalis.webhook.forward import FORWARD_PATH
from spotalis.webhook.handler import Handler, HandlerResponse
from spotalis.webhook.serving_certificate import ServingCertificate

log = logs.get(__name__)


OnRequest: TypeAlias = Callable[[str, str, float], None]
"""Called for every request with the operation (``create`` or ``forward``), the result
(``answered`` or the code of an error) and the duration in seconds."""

MUTATE_PATH = "/mutate"
KEEP_ALIVE_SECONDS = 600.0
"""Well above the 90 s after which Go's HTTP client, and thus the API server, closes idle
connections: Go does not repeat a POST on a connection that the server closes at the same time."""
_MAX_LARGE_BODIES = 2
"""Of the maximum size in memory, complete or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits on what clients can claim."""

    max_body_bytes: int = 7 * 1024 * 1024
    """Larger bodies are rejected with 413."""
    max_connections: int = 128
    """Further connections wait. An idle TLS connection costs 0.3 MB, one of a hostile client up
    to 0.65 MB (measured): 83 MB in the worst case."""
    read_timeout_seconds: float = 10.0
    """For the handshake, for the head of the first request, and for each body."""
    answer_timeout_seconds: float = 10.0
    """For the turn of a request, and for its answer. The API server gives up after 2 s; this ends
    requests that would never be answered."""


class WebhookServer:
    """Serves ``POST /mutate`` to the API server, and ``POST /forward`` to other instances."""

    def __init__(
        self,
        handler: Handler,
        *,
        clock: Clock,
        on_request: OnRequest = lambda operation, result, seconds: None,
        forward_handler: Handler | None = None,
        client_auth: ClientAuth | None = None,
        limits: ServerLimits | None = None,
        budget: EventLoopBudget | None = None,
    ) -> None:
        """Prepare the server; :meth:`start` opens the port.

        Args:
            handler: answers admission requests.
            clock: for the timestamps of errors.
            on_request: called for every request; must not raise.
            forward_handler: answers requests that other instances forward; without it or without
                ``client_auth``, ``/forward`` does not exist.
            client_auth: the clients of each path; None accepts every client.
            limits: on what clients can claim.
            budget: limits the time of the event loop that unknown clients take.
        """
        self._handlers = {MUTATE_PATH: handler}
        if forward_handler is not None and client_auth is not None:
            self._handlers[FORWARD_PATH] = forward_handler
        self._client_auth = client_auth
        self._clock = clock
        self._on_request = on_request
        self._limits = limits or ServerLimits()
        self._budget = budget or EventLoopBudget()
        self._bodies = BodyReader(
            max_bytes=self._limits.max_body_bytes,
            max_total_bytes=_MAX_LARGE_BODIES * self._limits.max_body_bytes,
            timeout_seconds=self._limits.read_timeout_seconds,
        )
        self._requests: set[asyncio.Task[object]] = set()
        self._http: web.Server | None = None
        self._listener: Listener | None = None
        self._certificate: ServingCertificate | None = None
        self._draining = False
        self._stopping = False

    @property
    def running(self) -> bool:
        """Whether the server was started and not stopped."""
        return self._listener is not None and not self._stopping

    async def start(self, host: str, port: int, certificate: ServingCertificate | None) -> int:
        """Listen and return the port.

        Args:
            host: an address or a host name; ``""`` and ``::`` for all IPv4 and IPv6 addresses.
            port: 0 lets the system choose one.
            certificate: ``None`` serves plain HTTP, for tests and the embedded cluster.

        Raises:
            PortInUse: another process listens on the port.
            OSError: the address is not local, or the port is privileged.
        """
        self._certificate = certificate
        self._http = web.Server(self._handle)
        listener = Listener(
            self._http,
            on_malformed=self._reject_malformed,
            max_connections=self._limits.max_connections,
            first_request_seconds=self._limits.read_timeout_seconds,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            budget=self._budget,
        )
        bound = listener.listen(host, port, certificate.context if certificate else None)
        self._listener = listener
        return bound

    def drain(self) -> None:
        """Close each connection after its next response, so that clients move to other instances.

        New connections are still accepted: the endpoints of the Service change later.
        """
        self._draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Stop accepting, and finish the requests in flight or cancel them after the grace time.

        A second call does nothing.
        """
        if self._http is None or self._listener is None or self._stopping:
            return
        self._stopping = True  # responses from here on close their connections
        await self._listener.close()
        self._listener.close_idle()
        if self._requests:
            await asyncio.wait(self._requests, timeout=grace_seconds)
        for request in self._requests:
            request.cancel()
        await self._http.shutdown(timeout=1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = connection_of(request)
        connection.begin_request()
        return await connection.metered(self._respond(request, connection))

    async def _respond(
        self, request: web.BaseRequest, connection: Connection
    ) -> web.StreamResponse:
        began, task = perf_counter(), asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            body = await self._process(request, connection)
        except RequestRejected as rejected:
            result = rejected.code.lower()
            response = self._error(rejected)
        except Exception:
            log.exception("Admission request failed")
            message = "internal error; see the log of the operator"
            result = "internal_error"
            response = self._error(RequestRejected(ErrorCode.INTERNAL_ERROR, message))
        else:
            result = "answered"
            response = web.Response(body=body, content_type="application/json")
        finally:
            connection.end_request()
            self._requests.discard(task)
        if self._stopping or self._draining:
            response.force_close()
        operation = "forward" if request.path == FORWARD_PATH else "create"
        self._on_request(operation, result, perf_counter() - began)
        return response

    async def _process(self, request: web.BaseRequest, connection: Connection) -> bytes:
        """Read and answer a request.

        Raises:
            RequestRejected: with the error to respond with.
        """
        try:
            self._check_head(request)
        except RequestRejected:
            await self._take_turn(request, connection)
            raise
        if self._proves_identity(request):
            connection.become_known()
        with await self._bodies.read(request) as body:
            connection.begin_answer()
            await self._take_turn(request, connection)
            answer = await self._answer(self._handlers[request.path], body)
        if answer.is_known_client:
            connection.become_known()
        return answer.body

    async def _take_turn(self, request: web.BaseRequest, connection: Connection) -> None:
        """Wait until the request may be handled.

        Raises:
            RequestRejected: too many unknown clients wait, or the client has disconnected.
        """
        try:
            await within(self._limits.answer_timeout_seconds, connection.take_turn())
        except TimeoutError:
            raise overloaded("too many requests at once") from None
        if request.transport is None:
            raise RequestRejected(ErrorCode.CLIENT_DISCONNECTED, "connection lost", close=True)

    def _check_head(self, request: web.BaseRequest) -> None:
        """Reject a request by its head."""

        def reject(code: ErrorCode, message: str, **headers: str) -> RequestRejected:
            unread = request.can_read_body
            return RequestRejected(code, message, headers=headers, close=unread)

        length, max_bytes = request.content_length, self._limits.max_body_bytes
        if request.path not in self._handlers:
            raise reject(ErrorCode.NOT_FOUND, f"unknown path; use {MUTATE_PATH}")
        if request.method != "POST":
            raise reject(ErrorCode.METHOD_NOT_ALLOWED, "must be POST", Allow="POST")
        if request.content_type != "application/json":
            message = "Content-Type must be application/json"
            raise reject(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)
        if set(request.headers.getall("Content-Encoding", [])) - {"identity"}:
            message = "the body must not be compressed (Content-Encoding)"
            raise reject(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)
        if length is not None and length > max_bytes:
            raise too_large(max_bytes)
        if not self._is_allowed(request):
            message = f"the client certificate does not allow access to {request.path}"
            raise reject(ErrorCode.FORBIDDEN, message)

    def _is_allowed(self, request: web.BaseRequest) -> bool:
        """Whether the client's certificate allows access to the path."""
        if self._client_auth is None:
            return True
        transport = request.transport
        presented = transport.get_extra_info("peercert") if transport is not None else None
        peer_ca_names = self._certificate.peer_ca_names if self._certificate else frozenset()
        if request.path == FORWARD_PATH:
            return self._client_auth.is_peer(presented, peer_ca_names)
        return self._client_auth.is_api_server(presented, peer_ca_names)

    def _proves_identity(self, request: web.BaseRequest) -> bool:
        """Whether a certificate of the client was necessary for access to the path."""
        auth = self._client_auth
        return request.path == FORWARD_PATH or (auth is not None and bool(auth.api_server_name))

    async def _answer(self, handler: Handler, body: bytes) -> HandlerResponse:
        """Call the handler within the limit of time."""
        seconds = self._limits.answer_timeout_seconds
        try:
            return await within(seconds, handler(body))
        except DeadlineExceededError:
            message = f"no answer within {seconds:g} s"
            raise RequestRejected(ErrorCode.DEADLINE_EXCEEDED, message) from None

    def _reject_malformed(self) -> web.Response:
        """Respond to what aiohttp cannot parse as HTTP."""
        self._on_request("create", "invalid_request", 0.0)
        message = "not valid HTTP/1.1"
        return self._error(RequestRejected(ErrorCode.INVALID_REQUEST, message, close=True))

    def _error(self, rejected: RequestRejected) -> web.Response:
        response = web.Response(
            status=rejected.code.status,
            body=error_json(
                rejected.code, rejected.message, details=rejected.details, at=self._clock.now()
            ),
            headers=dict(rejected.headers),
            content_type="application/json",
        )
        if rejected.close:
            response.force_close()
        return response
