"""The webhooks that scripts register: a small server whose paths determine the response.

The real API server reaches it over TLS on loopback, the embedded one in process. A URL is
``.../BEHAVIOR/NAMESPACE``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from spotalis.embedded.server.admission import WebhookFailed
from tests.conformance.history import Json
from tests.support.https_posts import answering

NOWHERE = "nowhere"
"""The path of a webhook that refuses connections."""
SLOW = "slow"
"""The path of a webhook that does not respond in time."""
_SLOW_SECONDS = 1.5
_IN_PROCESS = "https://hooks.invalid/"


@dataclass
class WebhookServer:
    """The address of the webhooks, and the requests that they received."""

    base: str = _IN_PROCESS
    authority: str = ""
    """The CA certificate, as base64 of PEM."""
    requests: list[Json] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def client_config(self, path: str) -> Json:
        """The ``clientConfig`` for ``BEHAVIOR/NAMESPACE``."""
        base = self.base if not path.startswith(NOWHERE) else "https://127.0.0.1:1/"
        found = {"url": base + path}
        return {**found, "caBundle": self.authority} if self.authority else found

    def respond(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the response to one admission review."""
        behavior, _, _ = path.strip("/").partition("/")
        review = json.loads(body)
        request = review["request"]
        compared = {key: value for key, value in request.items() if key not in ("uid", "userInfo")}
        if request.get("name") == "probe":  # Session.wait_for_webhook
            self.seen.add(path.strip("/"))
            if behavior == "meter":
                return 200, _review(review, {"allowed": True})
        else:
            self.requests.append(
                {"webhook": behavior, "namespace": request["namespace"], "request": compared}
            )
        if behavior == "broken":
            return 500, b"it is broken"
        if behavior == "nonsense":
            return 200, b'{"this is": "not a review"}'
        if behavior == "another-uid":
            review["request"]["uid"] = "another"
        return 200, _review(review, _RESPONSES[behavior](request))

    async def __call__(self, config: Mapping[str, Any], body: bytes, seconds: float) -> bytes:
        """Call a webhook in process, as a WebhookCaller; it fails like the HTTPS caller."""
        url = str(config["url"])
        path = urlsplit(url).path.strip("/")
        if not url.startswith(_IN_PROCESS):
            raise ConnectionRefusedError("dial tcp 127.0.0.1:1: connect: connection refused")
        if path.startswith(SLOW):
            await asyncio.sleep(_SLOW_SECONDS)
        status, content = self.respond(path, body)
        if status != 200:
            why = 'an error on the server ("unknown") has prevented the request from succeeding'
            raise WebhookFailed(why)
        return content


def _review(review: Json, response: Json) -> bytes:
    head = {"apiVersion": review["apiVersion"], "kind": review["kind"]}
    return json.dumps({**head, "response": {"uid": review["request"]["uid"], **response}}).encode()


def _patching(*operations: Json) -> Json:
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": patch}


def _counts(request: Json) -> Json:
    """Increment the label ``visits``."""
    labels = request["object"]["metadata"].get("labels") or {}
    visits = str(int(labels.get("visits", "0")) + 1)
    if not labels:
        return _patching({"op": "add", "path": "/metadata/labels", "value": {"visits": visits}})
    return _patching({"op": "add", "path": "/metadata/labels/visits", "value": visits})


def _labels(request: Json) -> Json:
    if "hooked" in (request["object"]["metadata"].get("labels") or {}):
        return {"allowed": True}
    return _patching({"op": "add", "path": "/metadata/labels/hooked", "value": "yes"})


_RESPONSES: dict[str, Callable[[Json], Json]] = {
    "allow": lambda _: {"allowed": True},
    "meter": lambda _: {"allowed": True},
    SLOW: lambda _: {"allowed": True},
    "another-uid": lambda _: {"allowed": True},
    "counts": _counts,
    "labels": _labels,
    "deny": lambda _: {"allowed": False, "status": {"message": "not today", "code": 403}},
    "deny-why": lambda _: {"allowed": False, "status": {"reason": "Forbidden", "message": "no"}},
    "deny-plain": lambda _: {"allowed": False},
    "bad-patch": lambda _: _patching({"op": "remove", "path": "/metadata/labels/nothing"}),
    "no-patch-type": lambda _: {"allowed": True, "patch": base64.b64encode(b"[]").decode()},
}


@contextmanager
def serve() -> Iterator[WebhookServer]:
    """Serve the webhooks on a loopback port until the block ends."""
    webhooks = WebhookServer()
    ended = threading.Event()

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        if path.strip("/").startswith(SLOW):
            ended.wait(_SLOW_SECONDS)
        return webhooks.respond(path, body)

    with answering(answer) as (webhooks.base, webhooks.authority):
        try:
            yield webhooks
        finally:
            ended.set()
