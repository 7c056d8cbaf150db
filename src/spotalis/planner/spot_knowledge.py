"""What is known about spot capacity, from the evidence of every workload.

See docs/reference/behaviour.md, "Spot shortage and return".

Spot capacity is a property of the cluster, not of a workload. Pods that differ only in what they
request share a **scheduling shape**. A success of a larger pod counts for a smaller one, and a
failure of a smaller pod counts for a larger one, never the other way round.

A tenant can let replicas wait on purpose, write the Events of an autoscaler, or make room for a
probe. What the workloads of one namespace find out therefore counts for this namespace. A failure
counts for all others once two namespaces have found it out, a success only if a spot node has
joined.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.model.ledger import Ledger
from spotalis.model.objects import PodShape
from spotalis.model.spot_knowledge import SpotAvailability, SpotRecord

MIN_PROBE_BACKOFF = timedelta(minutes=5)
MAX_PROBE_BACKOFF = timedelta(hours=1)
"""Time between failed probes: doubles from the minimum to the maximum."""
FORGET_AFTER = timedelta(hours=1)
"""A success counts for this time. A failure counts for this time after the next probe is due: if
no workload has probed by then, none was interested."""
REFRESH_AFTER = timedelta(seconds=30)
"""Evidence that changes nothing but the time is recorded at most this often."""
MAX_RECORDS = 200
"""At about 250 bytes each they are far below the limit of a ConfigMap (1 MiB)."""
ALWAYS_SECONDS = 10**9
"""The wait of a failure that the autoscaler itself has reported: it counts for every workload
that falls back at all."""
MAX_CAUSE_LENGTH = 200
MIN_NAMESPACES = 2
"""Other namespaces that must have found out a failure before it counts."""
_NODE_STATES = "node.kubernetes.io/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotQuestion:
    """What a workload asks about spot: the shape and the size of its next pod."""

    shape: str = ""
    own: str = ""
    """The shape of the workload alone, for failures that may not concern others."""
    namespace: str = ""
    cpu_millis: int = 0
    memory_bytes: int = 0
    patience: timedelta = timedelta(0)
    """Its ``spot-fallback``."""


NO_QUESTION = SpotQuestion()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotView:
    """What is known about spot for one workload."""

    question: SpotQuestion = NO_QUESTION
    availability: SpotAvailability = SpotAvailability.UNKNOWN
    since: datetime | None = None
    """Time of the evidence for the availability."""
    failed_probes: int = 0
    next_probe_at: datetime | None = None
    """If exhausted: no probe before this time."""
    cause: str = ""
    """If exhausted: a phrase about the failure."""

    @property
    def is_exhausted(self) -> bool:
        """Whether new replicas of spot slots start on on-demand."""
        return self.availability is SpotAvailability.EXHAUSTED

    def available_since(self, since: datetime) -> SpotView:
        """The same question, once spot capacity was found."""
        available = SpotAvailability.AVAILABLE
        return SpotView(question=self.question, availability=available, since=since)

    def probe_due_in(self, now: datetime) -> timedelta:
        """Time until the workload may probe; zero if it may now."""
        if self.next_probe_at is None:
            return timedelta(0)
        return max(timedelta(0), self.next_probe_at - now)


NOTHING_KNOWN = SpotView()


def question_of(
    shape: PodShape, workload_uid: str, patience: timedelta, namespace: str = ""
) -> SpotQuestion:
    """The question of a workload.

    Pods may also wait because of other pods, or for reasons that are not judged. A workload whose
    pods can do so shares its shape with no other one.

    Args:
        shape: of its next pod, without what the webhook adds.
        workload_uid: UID of the workload.
        patience: its ``spot-fallback``.
        namespace: its namespace.
    """
    own = f"workload/{workload_uid}"
    return SpotQuestion(
        shape=own if shape.anti_affinity or shape.host_ports or shape.unjudged else _digest(shape),
        own=own,
        namespace=namespace,
        cpu_millis=shape.cpu_millis,
        memory_bytes=shape.memory_bytes,
        patience=patience,
    )


def _digest(shape: PodShape) -> str:
    """A short name of the shape: node constraints, tolerations and extended resources."""
    # Admission adds the tolerations of the states of nodes to every pod, templates lack them.
    tolerations = [repr(one) for one in shape.tolerations if not one.key.startswith(_NODE_STATES)]
    text = repr((shape.node_selector, shape.node_terms, sorted(tolerations), shape.other))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def view(records: Iterable[SpotRecord], question: SpotQuestion, now: datetime) -> SpotView:
    """What the records say to this question."""
    mine = [one for one in records if one.shape in (question.shape, question.own)]
    failures = _believed(
        [one for one in mine if not one.found and _is_failure_for(one, question)], question
    )
    found_at = [
        one.at
        for one in mine
        if one.found and _is_as_large(one, question) and _is_from(one, question)
    ]
    found = max(found_at, default=None)
    failed = max(failures, key=_rank, default=None)
    if failed is not None and (found is None or found <= failed.at):
        next_probe_at = failed.at + probe_backoff(failed.failed_probes)
        if now < next_probe_at + FORGET_AFTER:
            return SpotView(
                question=question,
                availability=SpotAvailability.EXHAUSTED,
                since=failed.at,
                failed_probes=failed.failed_probes,
                next_probe_at=next_probe_at,
                cause=failed.cause,
            )
    if found is not None and now < found + FORGET_AFTER:
        return SpotView(question=question).available_since(found)
    return SpotView(question=question)


def _is_from(record: SpotRecord, question: SpotQuestion) -> bool:
    """Whether the cluster shows it, or a workload of the same namespace has found it out."""
    return record.namespace in ("", question.namespace)


def _believed(failures: list[SpotRecord], question: SpotQuestion) -> list[SpotRecord]:
    """Those of the workload's own namespace, and all if two other namespaces agree."""
    others = {one.namespace for one in failures if not _is_from(one, question)}
    if len(others) >= MIN_NAMESPACES:
        return failures
    return [one for one in failures if _is_from(one, question)]


def _rank(record: SpotRecord) -> tuple[datetime, int, str]:
    """The order of records: by time, and the same on every instance if that is equal."""
    return (record.at, record.failed_probes, record.cause)


def _is_failure_for(record: SpotRecord, question: SpotQuestion) -> bool:
    return (
        record.cpu_millis <= question.cpu_millis
        and record.memory_bytes <= question.memory_bytes
        and timedelta(seconds=record.waited_seconds) >= question.patience
    )


def _is_as_large(record: SpotRecord, question: SpotQuestion | SpotRecord) -> bool:
    return record.cpu_millis >= question.cpu_millis and record.memory_bytes >= question.memory_bytes


def probe_backoff(failed: int) -> timedelta:
    """How long to wait after the n-th consecutive failure.

    Args:
        failed: n; at least 1 counts.
    """
    doubled: int = 2 ** max(0, min(failed - 1, 10))
    return min(MIN_PROBE_BACKOFF * doubled, MAX_PROBE_BACKOFF)


def failure(
    seen: SpotView,
    now: datetime,
    *,
    waited_seconds: int,
    is_probe: bool,
    is_private: bool,
    cause: str,
) -> SpotRecord | None:
    """The record of replicas that have waited without success; None if it would say nothing new.

    Args:
        seen: what was known before.
        now: aware.
        waited_seconds: how long they have waited; ALWAYS_SECONDS if the autoscaler refuses them.
        is_probe: one of them is a probe. Only then the time until the next probe doubles.
        is_private: the failure may not concern other workloads.
        cause: a phrase for messages.
    """
    if seen.is_exhausted and not is_probe and _is_recent(seen, now):
        return None
    before = seen.failed_probes if seen.is_exhausted else 0
    question = seen.question
    return SpotRecord(
        shape=question.own if is_private else question.shape,
        namespace=question.namespace,
        cpu_millis=question.cpu_millis,
        memory_bytes=question.memory_bytes,
        at=now,
        waited_seconds=waited_seconds,
        failed_probes=before + 1 if is_probe else max(1, before),
        cause=cause[:MAX_CAUSE_LENGTH],
    )


def success(seen: SpotView, at: datetime, *, node_joined: bool) -> SpotRecord | None:
    """The record of spot capacity for such a pod; None if known.

    Args:
        seen: what was known before.
        at: when it was seen.
        node_joined: a spot node was added. Otherwise a probe has found room, which says nothing
            to other namespaces: its owner may have made the room.
    """
    if seen.availability is SpotAvailability.AVAILABLE and _is_recent(seen, at):
        return None
    question = seen.question
    return SpotRecord(
        shape=question.shape,
        namespace="" if node_joined else question.namespace,
        cpu_millis=question.cpu_millis,
        memory_bytes=question.memory_bytes,
        found=True,
        at=at,
    )


def _is_recent(seen: SpotView, now: datetime) -> bool:
    return seen.since is not None and now - seen.since < REFRESH_AFTER


def merge(records: Iterable[SpotRecord], news: Iterable[SpotRecord]) -> tuple[SpotRecord, ...]:
    """The records with news, without those that say nothing beyond others; the latest first.

    The order does not matter, so that two instances may merge the same news. If they are too many,
    the namespaces that have most lose their oldest first.
    """
    ordered = sorted({*records, *news}, key=_rank, reverse=True)
    if not ordered:
        return ()
    oldest = ordered[0].at - FORGET_AFTER - MAX_PROBE_BACKOFF
    kept: list[SpotRecord] = []
    for record in ordered:
        if record.at <= oldest:
            break
        if not any(_implies(later, record) for later in kept):
            kept.append(record)
    return _fair_share(kept)


def _fair_share(records: list[SpotRecord]) -> tuple[SpotRecord, ...]:
    """The first records of each namespace, as many as are kept, in the same order."""
    if len(records) <= MAX_RECORDS:
        return tuple(records)
    seen: Counter[str] = Counter()
    places = []
    for record in records:
        seen[record.namespace] += 1
        places.append(seen[record.namespace])
    first = sorted(range(len(records)), key=places.__getitem__)[:MAX_RECORDS]
    return tuple(records[index] for index in sorted(first))


def _implies(later: SpotRecord, record: SpotRecord) -> bool:
    """Whether a later record says all that this one says."""
    if later.shape != record.shape or later.found is not record.found:
        return False
    if later.namespace not in ("", record.namespace):
        return False
    if record.found:
        return _is_as_large(later, record)
    return _is_as_large(record, later) and later.waited_seconds >= record.waited_seconds


def with_ledger(
    records: Iterable[SpotRecord], ledger: Ledger, question: SpotQuestion, now: datetime
) -> tuple[SpotRecord, ...]:
    """The records with what the ledger of an older version of Spotalis says about the workload."""
    old = from_ledger(ledger, question, now)
    return merge(records, (old,)) if old is not None else tuple(records)


def from_ledger(ledger: Ledger, question: SpotQuestion, now: datetime) -> SpotRecord | None:
    """What the ledger of an older version knows about spot; None for a newer ledger."""
    if ledger.spot_availability is SpotAvailability.UNKNOWN:
        return None
    if ledger.spot_availability is SpotAvailability.AVAILABLE:
        return success(SpotView(question=question), now, node_joined=False)
    failed = max(1, ledger.failed_probes)
    due = ledger.next_probe_at or now
    return SpotRecord(
        shape=question.own,
        namespace=question.namespace,
        cpu_millis=question.cpu_millis,
        memory_bytes=question.memory_bytes,
        at=due - probe_backoff(failed),
        waited_seconds=ALWAYS_SECONDS,
        failed_probes=failed,
        cause="recorded by an older version of Spotalis",
    )
