"""What the HTTPS server asks for an answer. Does not import the server (decision 0023)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeAlias


class HandlerResponse(NamedTuple):
    """What a handler answers."""

    body: bytes
    is_known_client: bool = False
    """The request shows that the client is the API server or another instance: its connection is
    kept longest."""


Handler: TypeAlias = Callable[[bytes], Coroutine[Any, Any, HandlerResponse]]
"""Turns the body of an AdmissionReview into that of its response; raises RequestRejected."""
