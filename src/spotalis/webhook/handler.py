"""What the HTTPS server asks for an answer. Does not import the server (decision 0023)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias


class HandlerResponse(NamedTuple):
    """What a handler answers."""

    body: bytes
    is_known_client: bool = False
    """The request shows that the client is the API server or another instance: its connection is
    kept longest."""


Handler: TypeAlias = Callable[[bytes], Awaitable[HandlerResponse]]
"""Turns the body of an AdmissionReview into that of its response; raises RequestRejected."""
