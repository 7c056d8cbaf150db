"""The kubelets of all nodes, as one controller: pods start, become ready, crash and stop.

Pods on a node that does not exist or is not Ready stay as they are. Left out: probes, images, logs,
volumes, node heartbeats, and the terminal phase that a real kubelet reports before it removes a
deleted pod.

Tests control single pods with annotations:

- ``embedded.spotalis.io/start-seconds``: from bound to Running;
- ``embedded.spotalis.io/ready``: ``"never"``, or seconds from Running to Ready (0 by default). A
  change takes effect on a running pod, so it can become unready and recover;
- ``embedded.spotalis.io/crash-after-seconds``: from Running to a crash, after every start;
- ``embedded.spotalis.io/stop-seconds``: from the deletion until the pod is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.objects.conditions import put
from spotalis.embedded.objects.owners import deleting, key_of, split, uid_of
from spotalis.embedded.objects.pods import is_finished, is_ready, node_of, phase_of, restarts
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.writes import DeleteOptions

_PREFIX = "embedded.spotalis.io/"
START_SECONDS = _PREFIX + "start-seconds"
READY = _PREFIX + "ready"
CRASH_AFTER_SECONDS = _PREFIX + "crash-after-seconds"
STOP_SECONDS = _PREFIX + "stop-seconds"
_INITIAL_BACKOFF_SECONDS = 10.0
_MAX_BACKOFF_SECONDS = 300.0
_NEVER = float("inf")
_TOLERANCE_SECONDS = 1e-6
"""How early a timer may fire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletTiming:
    """How long pods take to start and stop, unless an annotation overrides it."""

    start: timedelta = timedelta(seconds=1)
    """From bound to Running and Ready."""
    stop: timedelta = timedelta(seconds=1)
    """From the deletion until the pod is removed; at most its grace period."""


@dataclass(slots=True)
class _PodState:
    """What the kubelet remembers about a pod; times are event loop times."""

    uid: str
    starts_at: float
    runs_since: float = _NEVER
    """``_NEVER`` while the pod is not running."""
    ends_at: float = _NEVER

    @property
    def running(self) -> bool:
        return self.runs_since != _NEVER


class Kubelet(Controller):
    """Runs the pods of every node."""

    name: ClassVar[str] = "kubelet"
    user: ClassVar[str] = "system:node"

    def __init__(self, context: ControllerContext, timing: KubeletTiming | None = None) -> None:
        super().__init__(context)
        self._timing = timing or KubeletTiming()
        self._states: dict[str, _PodState] = {}
        self._addresses = 0

    def listen(self) -> None:
        """Subscribe to bound pods, and to nodes that become Ready."""
        self.on("pods", self._on_pod)
        self.on("nodes", self._on_node)

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        if change == "DELETED":
            state = self._states.get(key_of(pod))
            if state is not None and state.uid == uid_of(pod):
                del self._states[key_of(pod)]
        elif node_of(pod):
            self.queue.add(key_of(pod))

    def _on_node(self, change: str, node: Object, old: Object | None) -> None:
        if change != "DELETED" and is_ready(node) and not (old is not None and is_ready(old)):
            for pod in self.indexes.pods_on(node["metadata"]["name"]):
                self.queue.add(key_of(pod))

    async def sync(self, key: str) -> float | None:
        """Do what is due for one pod; sync again when the next step is due."""
        pod = self.store.get("pods", *split(key))
        node = self.store.get("nodes", "", node_of(pod)) if pod is not None else None
        if pod is None or node is None or not is_ready(node):
            return None
        now = asyncio.get_running_loop().time()
        state = self._states.get(key)
        if state is None or state.uid != uid_of(pod):
            state = self._states[key] = self._new_state(pod, now)
        if deleting(pod):
            return await self._stop(pod, state, now)
        if is_finished(pod):
            return None
        due = now + _TOLERANCE_SECONDS
        if not state.running and due >= state.starts_at:
            self._start(pod, node, state, now)
        elif state.running and due >= state.runs_since + _crashes_after(pod):
            self._crash(pod, state, now)
        elif state.running and (due >= state.runs_since + _ready_after(pod)) != is_ready(pod):
            self._set_ready(pod, ready=not is_ready(pod))
        pending = [state.starts_at]
        if state.running:
            pending = [state.runs_since + _ready_after(pod), state.runs_since + _crashes_after(pod)]
        return min((at - now for at in pending if due < at < _NEVER), default=None)

    def _new_state(self, pod: Object, now: float) -> _PodState:
        """The state of a pod seen for the first time; it may be running already."""
        if phase_of(pod) == "Running":
            return _PodState(uid=uid_of(pod), starts_at=now, runs_since=now)
        seconds = _seconds(pod, START_SECONDS, self._timing.start.total_seconds())
        return _PodState(uid=uid_of(pod), starts_at=now + seconds)

    def _start(self, pod: Object, node: Object, state: _PodState, now: float) -> None:
        state.runs_since = now
        ready = _ready_after(pod) <= 0
        address = self._address(pod)
        at = self.now()

        def change(obj: Object) -> None:
            status = obj.setdefault("status", {})
            status["phase"] = "Running"
            status.setdefault("startTime", at)
            status["podIP"], status["podIPs"] = address, [{"ip": address}]
            host = _address_of(node)
            if host:
                status["hostIP"], status["hostIPs"] = host, [{"ip": host}]
            status["containerStatuses"] = _containers(obj, at, ready=ready, count=restarts(pod))
            put(obj, "PodReadyToStartContainers", "True", at)
            put(obj, "Initialized", "True", at)
            _put_ready(obj, at, ready=ready)

        self._write(pod, change)

    def _set_ready(self, pod: Object, *, ready: bool) -> None:
        at = self.now()

        def change(obj: Object) -> None:
            statuses = obj["status"].get("containerStatuses") or ()
            obj["status"]["containerStatuses"] = [{**one, "ready": ready} for one in statuses]
            _put_ready(obj, at, ready=ready)

        self._write(pod, change)

    def _crash(self, pod: Object, state: _PodState, now: float) -> None:
        """Crash: restart after 10 s, doubled with each crash up to 300 s, or fail."""
        count, at = restarts(pod) + 1, self.now()
        state.runs_since = _NEVER
        state.starts_at = now + min(
            _INITIAL_BACKOFF_SECONDS * 2 ** (count - 1), _MAX_BACKOFF_SECONDS
        )
        restarts_pod = pod["spec"].get("restartPolicy", "Always") != "Never"

        def change(obj: Object) -> None:
            status = obj["status"]
            if restarts_pod:
                status["containerStatuses"] = _containers(obj, at, ready=False, count=count)
                for one in status["containerStatuses"]:
                    one["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
            else:
                status["phase"] = "Failed"
            _put_ready(obj, at, ready=False)

        self._write(pod, change)

    async def _stop(self, pod: Object, state: _PodState, now: float) -> float | None:
        stop = _seconds(pod, STOP_SECONDS, self._timing.stop.total_seconds())
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds", _NEVER))
        state.ends_at = min(state.ends_at, now + min(stop, grace))
        if now + _TOLERANCE_SECONDS < state.ends_at:
            return state.ends_at - now
        namespace, name = split(key_of(pod))
        options = DeleteOptions(uid=state.uid, grace_seconds=0)
        await self.api.delete("pods", namespace, name, options, user=self._user(pod))
        return None

    def _write(self, pod: Object, change: Callable[[Object], None]) -> None:
        self.set_status("pods", key_of(pod), change, user=self._user(pod))

    def _user(self, pod: Object) -> str:
        return f"{self.user}:{node_of(pod)}"

    def _address(self, pod: Object) -> str:
        """The pod's address, or a new one."""
        known: str = (pod.get("status") or {}).get("podIP", "")
        if known:
            return known
        self._addresses += 1
        number = self._addresses
        return f"10.{128 + (number >> 16 & 0x3F)}.{number >> 8 & 0xFF}.{number & 0xFF}"


def _ready_after(pod: Object) -> float:
    text = (pod["metadata"].get("annotations") or {}).get(READY, "0")
    return _NEVER if text == "never" else float(text)


def _crashes_after(pod: Object) -> float:
    return _seconds(pod, CRASH_AFTER_SECONDS, _NEVER)


def _seconds(pod: Object, annotation: str, otherwise: float) -> float:
    return float((pod["metadata"].get("annotations") or {}).get(annotation, otherwise))


def _put_ready(obj: Object, at: str, *, ready: bool) -> None:
    value = "True" if ready else "False"
    reason = "" if ready else "ContainersNotReady"
    names = " ".join(one["name"] for one in obj["spec"].get("containers") or ())
    message = "" if ready else f"containers with unready status: [{names}]"
    for kind in ("Ready", "ContainersReady"):
        put(obj, kind, value, at, reason=reason, message=message)


def _containers(pod: Object, at: str, *, ready: bool, count: int) -> list[Object]:
    return [
        {
            "name": one["name"],
            "image": one.get("image", ""),
            "imageID": "",
            "ready": ready,
            "started": True,
            "restartCount": count,
            "state": {"running": {"startedAt": at}},
        }
        for one in pod["spec"].get("containers") or ()
    ]


def _address_of(node: Object) -> str:
    for one in (node.get("status") or {}).get("addresses") or ():
        if one.get("type") == "InternalIP":
            found: str = one["address"]
            return found
    return ""
