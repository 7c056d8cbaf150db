"""The HTTPS server that the API server calls for each new pod.

What an admission server must get right, and where the figures come from:

* Idle connections stay open far longer than the caller keeps them (600 s against Go's 90 s):
  a POST that races with our closing is not repeated, and that pod would stay unplaced.
* Bodies up to 7 MiB are taken, which is controller-runtime's limit: a review carries a whole
  object, and etcd's 1.5 MiB grows when written as JSON. Frameworks stop at 1 MiB by default.
* Nothing that a caller sends is kept before it is known to fit: a length beyond the limit is
  refused unread, a body without a length is cut off at the limit, compressed ones are refused.
  Only ``_LARGE_BODIES`` bodies above ``_LARGE_BYTES`` are in memory at once; a review of a pod
  has 10 kB, so ordinary ones never wait for a large one.
* What a body decodes to may be 27 times its size (``{},{},``), so the values in a review are
  bounded (:mod:`spotalis.webhook.admission_review`), and so are the reviews that are decoded at
  once: two large ones take 2 x (14 + 9) MB, 32 ordinary ones of 32 KiB at most 32 x 0.9 MB.
  Together with the connections (below) that is what a hundred hostile callers can make us hold
  (``tests/contract/test_hostile_callers.py`` measures it against the manifest's limit).
* Reading has a deadline, and so has answering; no caller can hold anything for longer.
* ``/forward`` is for other replicas alone, which show a certificate of our own authority; the
  API server shows none, or one that it is asked for (:mod:`spotalis.webhook.client_auth`).
* TLS 1.3 by default (:mod:`spotalis.webhook.serving_certificate`); a new certificate needs no
  restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeAlias

from aiohttp import web

from spotalis.model.environment import Clock
from spotalis.model.errors import error_json
from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.connections import Connection, Connections, let_go
from spotalis.webhook.errors import InvalidAdmissionReview, RequestRejected
from spotalis.webhook.forward import FORWARD_PATH
from spotalis.webhook.serving_certificate import ServingCertificate

logger = logging.getLogger(__name__)

Answer: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""From the body of an AdmissionReview to that of its answer."""
Observe: TypeAlias = Callable[[str, float], None]
"""Told of every review: how it ended (``answered`` or an error's code), and the seconds."""

PATH = "/mutate"
_LARGE_BYTES = 32 * 1024
_LARGE_BODIES = 2


class WebhookServer:
    """Serves ``POST /mutate``, and ``/forward`` for other replicas, until it is stopped."""

    def __init__(
        self,
        answer: Answer,
        *,
        clock: Clock,
        observe: Observe,
        forwarded: Answer | None = None,
        observe_forwarded: Observe = lambda result, seconds: None,
        client_auth: ClientAuth | None = None,
        max_body_bytes: int = 7 * 1024 * 1024,
        max_connections: int = 128,
        max_concurrent: int = 32,
        read_timeout_seconds: float = 10.0,
        answer_timeout_seconds: float = 10.0,
    ) -> None:
        """Prepare; nothing is opened before :meth:`start`.

        Args:
            answer: called for each review, ``max_concurrent`` at a time.
            clock: for the stamps of errors.
            observe: must not raise.
            forwarded: called for the reviews that other replicas send; None: there is no such
                path.
            observe_forwarded: the same as ``observe``, for these.
            callers: whom the two paths are for; None: for anybody, without ``/forward``.
            max_body_bytes: a larger body is refused with 413.
            max_connections: further ones wait unaccepted. With TLS an idle one costs 0.3 MB, and
                one of a hostile caller up to 0.65 MB (measured): 83 MB at the worst.
            max_concurrent: reviews being answered; the other connections wait in line.
            read_timeout_seconds: for the handshake, for the first request's head, and for each
                body; controller-runtime's neighbours use 10 s too (safety.md E).
            answer_timeout_seconds: for waiting in line plus answering. The caller gives up
                after 2 s (our webhook configuration); this is for what would never end.
        """
        self._answers = {PATH: answer}
        self._observers = {PATH: observe}
        if forwarded is not None and client_auth is not None:
            self._answers[FORWARD_PATH] = forwarded
            self._observers[FORWARD_PATH] = observe_forwarded
        self._client_auth = client_auth
        self._clock = clock
        self._observe = observe
        self._max_body_bytes = max_body_bytes
        self._read_timeout_seconds = read_timeout_seconds
        self._answer_timeout_seconds = answer_timeout_seconds
        self._max_connections = max_connections
        self._answering = asyncio.Semaphore(max_concurrent)
        self._large = asyncio.Semaphore(_LARGE_BODIES)
        self._reviews: set[asyncio.Task[object]] = set()
        self._http: web.Server | None = None
        self._connections: Connections | None = None
        self._certificate: ServingCertificate | None = None
        self._draining = False
        self._stopping = False

    @property
    def running(self) -> bool:
        """Between :meth:`start` and :meth:`stop`."""
        return self._connections is not None and not self._stopping

    async def start(self, host: str, port: int, certificate: ServingCertificate | None) -> int:
        """Listen; returns the port, which 0 leaves to the system.

        Args:
            host: an address; ``::`` is every IPv6 and IPv4 address, ``""`` every IPv4 one.
            port: to listen on.
            certificate: ``None`` serves plain HTTP, for tests and the embedded cluster.

        Raises:
            PortInUse: somebody else listens there.
            OSError: the address is not ours, or the port is privileged.
        """
        self._certificate = certificate
        self._http = web.Server(self._handle)
        connections = Connections(
            self._http,
            malformed=self._malformed,
            most=self._max_connections,
            first_request_seconds=self._read_timeout_seconds,
        )
        bound = connections.listen(host, port, certificate.context if certificate else None)
        self._connections = connections
        return bound

    def drain(self) -> None:
        """From now on each answer ends its connection, so that its caller looks for another
        replica; new connections are still taken, for not everybody knows yet that we go."""
        self._draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Accept nobody any more and let the reviews in flight finish; a second call does nothing.

        Args:
            grace_seconds: after this, what is not answered is cut off.
        """
        if self._http is None or self._connections is None or self._stopping:
            return
        self._stopping = True  # answers from here on end their connections
        await self._connections.close_listener()
        self._connections.close_idle()
        if self._reviews:
            await asyncio.wait(self._reviews, timeout=grace_seconds)
        for review in self._reviews:
            review.cancel()
        await self._http.shutdown(timeout=1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = perf_counter()
        connection, task = request.protocol, asyncio.current_task()
        assert isinstance(connection, Connection)
        assert task is not None
        connection.began()
        self._reviews.add(task)
        try:
            body = await self._review(request, connection)
        except RequestRejected as refused:
            result = refused.code.lower()
            response = self._error(refused)
        except Exception:
            logger.exception("a review failed")
            result = "internal_error"
            response = self._error(
                RequestRejected(500, "INTERNAL_ERROR", "the review failed; see the log")
            )
        else:
            result = "answered"
            response = web.Response(body=body, content_type="application/json")
        finally:
            connection.ended()
            self._reviews.discard(task)
        if self._stopping or self._draining:
            response.force_close()
        observe = self._observers.get(request.path, self._observe)
        observe(result, perf_counter() - began)
        return response

    async def _review(self, request: web.BaseRequest, connection: Connection) -> bytes:
        self._check(request)
        length = request.content_length
        deadline = asyncio.get_running_loop().time() + self._read_timeout_seconds
        if length is not None and length <= _LARGE_BYTES:
            body = await self._read(request, deadline)
            connection.answers()
            return await self._in_turn(self._answers[request.path], body)
        try:
            async with asyncio.timeout_at(deadline):
                await self._large.acquire()
        except TimeoutError:
            message, later = "too many large reviews at once", {"Retry-After": "1"}
            raise RequestRejected(503, "OVERLOADED", message, headers=later, close=True) from None
        try:
            body = await self._read(request, deadline)
            connection.answers()
            return await self._in_turn(self._answers[request.path], body)
        finally:
            self._large.release()

    def _check(self, request: web.BaseRequest) -> None:
        """Refuse whatever the head alone gives away."""
        length, most = request.content_length, self._max_body_bytes
        unread = request.can_read_body
        if request.path not in self._answers:
            raise RequestRejected(404, "NOT_FOUND", f"there is only {PATH}", close=unread)
        if request.method != "POST":
            allow = {"Allow": "POST"}
            raise RequestRejected(
                405, "METHOD_NOT_ALLOWED", "must be POST", headers=allow, close=unread
            )
        if request.content_type != "application/json":
            message = "Content-Type must be application/json"
            raise RequestRejected(415, "UNSUPPORTED_MEDIA_TYPE", message, close=unread)
        if request.headers.get("Content-Encoding", "identity") != "identity":
            message = "the body must not be compressed (Content-Encoding)"
            raise RequestRejected(415, "UNSUPPORTED_MEDIA_TYPE", message, close=unread)
        if length is not None and length > most:
            raise _too_large(most)
        if not self._may_ask(request):
            message = f"{request.path} is not for this caller: another certificate is needed"
            raise RequestRejected(403, "FORBIDDEN", message, close=unread)

    def _may_ask(self, request: web.BaseRequest) -> bool:
        """Whether the path is for who asks, by the certificate shown in the handshake."""
        if self._client_auth is None:
            return True
        transport = request.transport
        shown = transport.get_extra_info("peercert") if transport is not None else None
        ours = self._certificate.peer_ca_names if self._certificate else frozenset()
        if request.path == FORWARD_PATH:
            return self._client_auth.is_peer(shown, ours)
        return self._client_auth.is_api_server(shown, ours)

    async def _read(self, request: web.BaseRequest, deadline: float) -> bytes:
        """The whole body; whoever breaks the rules on the way is cut off."""
        chunks: list[bytes] = []
        size = 0
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # or aiohttp takes it for the answer
            async with asyncio.timeout_at(deadline):
                while chunk := await request.content.readany():
                    size += len(chunk)
                    if size > self._max_body_bytes:
                        raise _too_large(self._max_body_bytes)
                    chunks.append(chunk)
        except TimeoutError:
            message = f"the body took longer than {self._read_timeout_seconds:g} s"
            raise RequestRejected(408, "REQUEST_TIMEOUT", message, close=True) from None
        except OSError as error:  # hung up, or no TLS any more: nobody reads this, but it counts
            let_go(error)
            raise RequestRejected(
                400, "CALLER_GONE", "the connection was lost", close=True
            ) from None
        except web.RequestPayloadError as error:
            let_go(error)
            message = "the body is not what its headers say"
            raise RequestRejected(400, "INVALID_REQUEST", message, close=True) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _in_turn(self, answer: Answer, body: bytes) -> bytes:
        """The answer, with no more than so many being worked on."""
        deadline = asyncio.timeout(self._answer_timeout_seconds)
        try:
            async with deadline, self._answering:
                return await answer(body)
        except TimeoutError:
            if deadline.expired():
                message = f"no answer within {self._answer_timeout_seconds:g} s"
                raise RequestRejected(504, "DEADLINE_EXCEEDED", message) from None
            raise

    def _malformed(self, status: int) -> web.Response:
        """For what aiohttp itself cannot read as HTTP."""
        self._observe("invalid_request", 0.0)
        return self._error(
            RequestRejected(status, "INVALID_REQUEST", "not valid HTTP/1.1", close=True)
        )

    def _error(self, refused: RequestRejected) -> web.Response:
        response = web.Response(
            status=refused.status,
            body=error_json(
                refused.code, refused.message, details=refused.details, at=self._clock.now()
            ),
            headers=dict(refused.headers),
            content_type="application/json",
        )
        if refused.close:
            response.force_close()
        return response


def _too_large(most: int) -> RequestRejected:
    message = f"the body must not be larger than {most} bytes"
    return RequestRejected(413, "PAYLOAD_TOO_LARGE", message, details={"limit": most}, close=True)


__all__ = ["PATH", "Answer", "InvalidAdmissionReview", "Observe", "WebhookServer"]
