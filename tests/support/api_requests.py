"""Single requests to an API server on loopback, faster than with kubectl."""
# ruff: noqa: TID251  # connections age in real time

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]
"""A JSON object of the Kubernetes API."""

_IDLE_CONNECTION = 30.0  # seconds; the API server closes idle connections after 90


class ApiError(Exception):
    """The API server answered with a status of 400 or above.

    status:  the HTTP status code.
    reason:  `reason` of the Status object, such as "Conflict" or "TooManyRequests"; empty if the
             response has no Status object.
    answer:  the Status object; {"message": text} if the response is not JSON.
    """

    def __init__(self, status: int, answer: Json, request: str) -> None:
        """``request`` is the method and path, for the message."""
        super().__init__(f"{request}: {status} {answer.get('message', '')}")
        self.status = status
        self.reason = str(answer.get("reason", ""))
        self.answer = answer


class ApiRequests:
    """Sends requests to one API server over persistent connections. Thread-safe."""

    def __init__(self, port: int, ca_file: Path, tokens: Mapping[str, str]) -> None:
        """Takes a port on 127.0.0.1, the CA file (read at first use), and the bearer tokens by
        user.
        """
        self._port = port
        self._ca_file = ca_file
        self._tokens = tokens
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._idle: list[
            tuple[http.client.HTTPSConnection, float]
        ] = []  # with the time of its last use

    def close(self) -> None:
        """Close the idle connections, because the server has ended."""
        with self._lock:
            for connection, _ in self._idle:
                connection.close()
            self._idle.clear()

    def is_ready(self) -> bool:
        """Whether the API server is ready for requests."""
        try:
            self.request("GET", "/readyz", timeout=2)
        except (ApiError, OSError, http.client.HTTPException):
            return False
        return True

    def request(
        self,
        method: str,
        path: str,
        body: Json | list[Any] | None = None,
        *,
        user: str = "admin",
        content_type: str | None = None,
        timeout: float = 30.0,
    ) -> Json:
        """Send one request and return the JSON object of the response. Never sends a request twice.

        Args:
            path: with its query, such as "/api/v1/nodes?limit=5".
            content_type: of the body. By default a PATCH is a merge patch if the body is an object,
                and a JSON patch if it is a list.

        Returns:
            {} for an empty response, {"message": text} for a response that is not a JSON object.

        Raises:
            ApiError: the status is 400 or above.
            OSError, http.client.HTTPException: the server did not respond.
        """
        if content_type is None:
            content_type = "application/json"
            if method == "PATCH":
                kind = "json-patch" if isinstance(body, list) else "merge-patch"
                content_type = f"application/{kind}+json"
        headers = {
            "Authorization": f"Bearer {self._tokens[user]}",
            "Accept": "application/json",
            "User-Agent": "spotalis-testbed",
        }
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        connection = self._connection(timeout)
        try:
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append((connection, time.monotonic()))
        answer = _as_object(text)
        if response.status >= 400:
            raise ApiError(response.status, answer, f"{method} {path}")
        return answer

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        """Return an idle connection that the server has not closed, or a new one."""
        with self._lock:
            while self._idle:
                connection, used = self._idle.pop()
                if time.monotonic() - used < _IDLE_CONNECTION and connection.sock is not None:
                    connection.sock.settimeout(timeout)
                    return connection
                connection.close()
            if self._tls is None:
                self._tls = ssl.create_default_context(cafile=str(self._ca_file))
        return http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=timeout, context=self._tls
        )


def _as_object(text: bytes) -> Json:
    if not text:
        return {}
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"message": text.decode(errors="replace")}
