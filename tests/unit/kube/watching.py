"""Helpers for tests of watches: scripted responses, and a record of the result."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.kube.store import Store, StoreChange, StoreWriter
from spotalis.kube.watch import (
    Relist,
    WatchOptions,
    WatchProblem,
    WatchReport,
    reflect,
)
from spotalis.model.objects import Pod
from spotalis.model.transport import Request, Response
from tests.support.api_objects import (
    a_bookmark,
    a_list,
    a_pod,
    a_status,
    event,
    text,
)
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import Answer, ScriptedTransport, Stream
from tests.support.virtual_time import run_in_virtual_time, virtual_clock


@dataclass
class Recording:
    """A reflector, the script of its server, and the results."""

    transport: ScriptedTransport
    store: Store[Pod] = field(default_factory=Store)
    changes: list[StoreChange[Pod]] = field(default_factory=list)
    relists: list[Relist[Pod]] = field(default_factory=list)
    reports: list[WatchReport] = field(default_factory=list)
    seconds: float = 0.0
    """When the script was used up."""

    @property
    def requests(self) -> list[Request]:
        return self.transport.requests

    @property
    def names(self) -> set[str]:
        return {pod.name for pod in self.store}

    @property
    def problems(self) -> list[WatchProblem]:
        return [report.problem for report in self.reports]

    @property
    def changed(self) -> list[tuple[str, str]]:
        """The changes as (sign, name)."""
        return [
            ("-", change.old.name)
            if change.new is None and change.old is not None
            else ("+" if change.old is None else "~", change.new.name if change.new else "")
            for change in self.changes
        ]

    def kinds(self) -> list[str]:
        """The requests in short: S for a streamed list, L for a list, W for a watch."""
        return ["S" if asks_for_list(r) else "W" if is_watch(r) else "L" for r in self.requests]


def is_watch(request: Request) -> bool:
    return ("watch", "true") in request.query


def asks_for_list(request: Request) -> bool:
    return ("sendInitialEvents", "true") in request.query


def follow(*answers: Answer, until: float | None = None, **options: Any) -> Recording:
    """Reflect until the script is used up, or for some seconds."""

    async def run() -> Recording:
        recording = Recording(ScriptedTransport([*answers]))
        task = start(recording, **options)
        if until is None:
            await recording.transport.used_up.wait()
        else:
            await asyncio.wait([task], timeout=until)
        recording.seconds = virtual_clock().monotonic()
        await stop(task)
        return recording

    return run_in_virtual_time(run())


def start(recording: Recording, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(
        reflect(
            Client(recording.transport, clock=virtual_clock(), rng=LoadedRandom()),
            PODS,
            StoreWriter(recording.store),
            on_change=recording.changes.append,
            on_relist=recording.relists.append,
            options=WatchOptions(**options),
            on_report=recording.reports.append,
        )
    )


async def stop(task: asyncio.Task[Any]) -> None:
    assert not task.done(), "the task must run forever"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def added(name: str, version: int) -> bytes:
    return event("ADDED", a_pod(name, version=version))


def modified(name: str, version: int) -> bytes:
    return event("MODIFIED", a_pod(name, version=version))


def deleted(name: str, version: int) -> bytes:
    return event("DELETED", a_pod(name, version=version))


def end_of_list(version: int) -> bytes:
    return a_bookmark(version, ends_list=True)


def in_stream(code: int, reason: str = "", **fields: Any) -> bytes:
    return event("ERROR", a_status(code, reason, **fields))


def refusal(code: int, reason: str = "", **fields: Any) -> Response:
    return Response(status=code, body=text(a_status(code, reason, **fields)))


def a_page(*names: str, version: int = 10, continue_: str = "") -> Response:
    pods = [a_pod(name, version=version) for name in names]
    return Response(status=200, body=text(a_list(pods, version, continue_)))


LISTED = Stream([added("one", 1), added("two", 2), end_of_list(10), 60.0])
"""A streamed list that ends after a minute at version 10."""


def listed() -> Stream:
    return Stream(LISTED)
