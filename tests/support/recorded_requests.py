"""Record, delay, lose and answer the requests of an operator on the embedded cluster."""

from __future__ import annotations

import json
from typing import Any

from spotalis.embedded.transport import DELIVER, FaultInjector, NetworkFault
from spotalis.model.transport import Request, Response

LEDGERS = "/api/v1/namespaces/spotalis-system/configmaps"


class RecordedRequests:
    """Records the requests of the operator."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.inject: FaultInjector = lambda request: DELIVER

    def record(self, request: Request) -> NetworkFault:
        """Record a request, and decide its fault."""
        self.requests.append(request)
        return self.inject(request)

    def evictions(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the position and the preconditions of each eviction."""
        return [
            (place, body_of(request)["deleteOptions"]["preconditions"])
            for place, request in enumerate(self.requests)
            if is_eviction(request)
        ]

    def intent(self, uid: str, before: int) -> tuple[int, str, dict[str, Any]]:
        """Return position, name of the ledger, and intent for a pod in the last write before
        ``before``.
        """
        for place in reversed(range(before)):
            request = self.requests[place]
            if request.method in ("POST", "PUT") and request.path.startswith(LEDGERS):
                written = body_of(request)
                for intent in json.loads(written["data"].get("ledger", "{}")).get("intents", ()):
                    if intent["pod"] == uid:
                        return place, written["metadata"]["name"], intent
        raise AssertionError(f"no ledger named pod {uid} before it was evicted")


def body_of(request: Request) -> dict[str, Any]:
    """The JSON body of a request; empty if it has none."""
    found: dict[str, Any] = json.loads(request.body or b"{}")
    return found


def is_eviction(request: Request) -> bool:
    """Whether the request is an eviction."""
    return request.path.endswith("/eviction")


def is_quorum_list(request: Request) -> bool:
    """Whether the request is a list of pods that authorizes evictions."""
    asked = dict(request.query)
    return (
        request.method == "GET"
        and request.path == "/api/v1/namespaces/default/pods"
        and "watch" not in asked
        and "resourceVersion" not in asked
    )


def is_pod_deletion(request: Request) -> bool:
    """Whether the request deletes a pod without the Eviction API."""
    return request.method == "DELETE" and "/pods/" in request.path


BLOCKED_BY_BUDGET = Response(
    status=429,
    body=json.dumps(
        {
            "kind": "Status",
            "code": 429,
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 6"}]},
        }
    ).encode(),
)
