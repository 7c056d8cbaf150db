"""Every setting, turned to another value, makes a running process behave differently (T016).

Each row compares two processes: one as it is, one with the change, which comes by file, variable or
flag in turn. Rows that begin alike share the first. Every process has a cluster of its own and many
run side by side; the tests then look at what came of it. A declared setting without a row fails.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import ssl
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import pytest
from cryptography import x509

from spotalis.model.leadership import ADDRESS_ANNOTATION
from spotalis.model.nodes import NodeType
from spotalis.settings.declarations import SETTINGS
from spotalis.webhook.issuer_process import BACKDATED
from tests.support.cluster import policy
from tests.support.free_ports import claim_ports
from tests.support.operator_process import CHEAP, HOST, Operator, operator
from tests.support.tls_pairs import a_pair

SIDE_BY_SIDE = 8
"""Processes at once."""
WITHIN_SECONDS = 240.0
"""Mostly they take a second or ten; eight processes that begin at once keep a slow machine busy."""
STEADY_LOOKS = 3
LOOK_SECONDS = 0.2

Look: TypeAlias = Callable[[Operator], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting, or a few that only go together."""

    change: Mapping[str, object]
    """Path to value."""
    look: Look
    """What is compared; asked until it has been ``before``, or ``after``, three times running."""
    before: object
    after: object
    given: Mapping[str, object] = field(default_factory=dict)
    """What both processes are set to; None takes a setting out of the common ones."""
    moving: bool = False
    """Pods go on to begin and end, and the webhook is called for new ones."""

    def __str__(self) -> str:
        return "+".join(self.change)


# -- what is looked at -------------------------------------------------------------------------


def evictions(*workloads: str) -> Look:
    async def look(it: Operator) -> object:
        return sum(it.evicted(name) for name in workloads)

    return look


async def evicts_or_says(it: Operator) -> object:
    """Whether api's pods are evicted, and what is said of it where they are not."""
    return "evicts" if it.evicted("api") else await it.reason("api")


async def said_after_a_move(it: Operator) -> object:
    """With kubelets that go on: what happens to api once its first move is over."""
    if it.evicted("api") > 1:
        return "goes on"
    return (it.evicted("api"), await it.reason("api"))


async def waits_or_falls_back(it: Operator) -> object:
    """What becomes of the one of three large pods for which no spot node has room."""
    if "late" not in it.memory:
        if (await it.health("/readyz")).get("status") != "ready":
            return None
        it.memory["late"] = True
        await it.deploy("data", "late", 3, policy(100), cpu="3")
    if it.evicted("late"):
        return "falls back"
    return "waits" if it.unschedulable("late") else None


async def has_our_condition(it: Operator) -> object:
    """Whether api's status says whether it is balanced, once it has been looked at."""
    if await it.reason("api") is None:
        return None
    return "spotalis.io/Balanced" in it.conditions("shop", "api")


async def storms(it: Operator) -> object:
    """Whether moves to spot rest after 3 of 8 spot nodes were lost, 3 s apart."""
    if (await it.health("/readyz")).get("status") != "ready":
        return None
    if "losing" not in it.memory:
        it.memory["losing"] = asyncio.create_task(_lose_three_of_eight(it))
    await asyncio.shield(it.memory["losing"])
    return any(name == "spotalis_storm_active" and value for name, _, value in await it.metrics())


async def _lose_three_of_eight(it: Operator) -> None:
    spot = await it.cluster.fleet.add(spot=6)
    await asyncio.sleep(0.5)
    for name in spot[:3]:
        await it.cluster.fleet.reclaim(name)
        await asyncio.sleep(3)  # a process that stands still for a while sees them closer together


async def evicts_at_a_notice(it: Operator) -> object:
    """Whether api's spot pods are evicted once their nodes are announced to go."""
    if "before" not in it.memory:
        if await it.reason("api") != "Balanced":
            return None
        it.memory["before"] = it.evicted("api")
        for name in it.cluster.fleet.names(NodeType.SPOT):
            await it.cluster.fleet.announce_reclaim(name)
        await asyncio.sleep(1.5)
    return it.evicted("api") > it.memory["before"]


async def deletes_what_a_budget_blocks(it: Operator) -> object:
    """What becomes of a replica that is to move, under a budget that allows nothing."""
    if "late" not in it.memory:
        if (await it.health("/readyz")).get("status") != "ready":
            return None
        it.memory["late"] = True
        owner = policy(0, pdb_override="true")
        await it.deploy("data", "late", 2, owner, cpu="100m")
        await it.budget("data", "late", 2)
    if "moves" not in it.memory and await it.reason("late") == "Balanced":
        it.memory["moves"] = True
        await it.wish("data", "late", "spot-percentage", "100")
        return None
    if any(entry.name.startswith("late-") for entry in it.asked("delete", "pods")):
        return "deletes"
    return "waits" if await it.reason("late") == "BlockedByPDB" else None


async def managed_namespaces(it: Operator) -> object:
    return {
        labels["namespace"]
        for name, labels, value in await it.metrics()
        if name == "spotalis_managed_workloads" and value
    }


def replicas(workload: str, state: str) -> Look:
    async def look(it: Operator) -> object:
        return await it.replicas(workload, state)

    return look


async def tolerated_by_a_new_pod(it: Operator) -> object:
    patch = await it.review("api")
    keys = set()
    for step in patch:
        if step["path"].startswith("/spec/tolerations"):
            value = step["value"]
            keys |= {one["key"] for one in (value if isinstance(value, list) else [value])}
    return keys if patch else None


async def turns_without_a_change(it: Operator) -> object:
    """Whether anything is looked at within 8 s, once nothing was for 2 s."""
    if "turned" not in it.memory:
        if await it.reason("api") is None:
            return None
        before = await _turns(it)
        await asyncio.sleep(2)
        if await _turns(it) != before:
            return None
        await asyncio.sleep(8)
        it.memory["turned"] = await _turns(it) != before
    return it.memory["turned"]


async def _turns(it: Operator) -> float:
    counts = await it.metrics()
    return sum(value for name, _, value in counts if name == "spotalis_reconciliations_total")


async def leases(it: Operator) -> object:
    return {(entry.namespace, entry.name) for entry in it.asked("create", "leases")}


def lease_says(key: str) -> Look:
    async def look(it: Operator) -> object:
        return it.lease().get(key)

    return look


async def is_called_me(it: Operator) -> object:
    """Its name in the Lease, which may have something of the process's own at its end."""
    holder = it.lease().get("holderIdentity")
    return holder.partition("_")[0] == "me" if holder else None


async def readyz_of_election(it: Operator) -> object:
    return (await it.health("/readyz")).get("leader_election")


async def leads_without_renewing(it: Operator) -> object:
    """Whether it still leads 4 s after it could write its Lease for the last time."""
    if "led" not in it.memory:
        if not (await it.health("/healthz")).get("leader"):
            return None
        await it.take_lease_away()
        while it.lease():
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(4)
        it.memory["led"] = (await it.health("/healthz")).get("leader")
    return it.memory["led"]


async def renews_often(it: Operator) -> object:
    """Whether renewals of the Lease are mostly less than 1.5 s apart; five must have come."""
    at = [entry.at for entry in it.asked("update", "leases")]
    if len(at) < 5:
        return None
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(at)]
    return statistics.median(gaps) < 1.5


async def first_reads_are_far_apart(it: Operator) -> object:
    """Whether its seven watches mostly begin more than 0.5 s after each other."""
    kinds = (
        *("namespaces", "nodes", "deployments", "statefulsets", "replicasets"),
        *("poddisruptionbudgets", "pods"),
    )
    begun = [[*it.asked("watch", kind), *it.asked("list", kind)] for kind in kinds]
    if not all(begun):
        return None
    first = sorted(min(entry.at for entry in entries) for entries in begun)
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(first)]
    return statistics.median(gaps) > 0.5


async def hosts_it_listens_on(it: Operator) -> object:
    port = it.ports[2]
    return {host for host in (HOST, "127.0.0.2") if await it.get(port, "/healthz", host)}


def listens(number: int) -> Look:
    """Which of its usual port and the one beyond the three it listens on."""

    async def look(it: Operator) -> object:
        found = set()
        for name, port in (("usual", it.ports[number]), ("other", it.ports[3])):
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                continue
            found.add(name)
            writer.close()
        return found

    return look


async def address_in_the_lease(it: Operator) -> object:
    lease = it.cluster.store.get("leases", "spotalis-system", "spotalis")
    said = ((lease or {}).get("metadata", {}).get("annotations") or {}).get(ADDRESS_ANNOTATION, "")
    return said.rpartition(":")[0] or None


async def answer_to_who_shows_nothing(it: Operator) -> object:
    """The status of what is no review: 400, if its sender may ask at all."""
    return await it.status_of_nonsense()


async def lets_a_stranger_in(it: Operator) -> object:
    """Who shows a certificate of an authority that nobody has named, which is then looked at."""
    if not await it.certificate():
        return None
    return await it.status_of_nonsense(STRANGER.cert_pem + STRANGER.key_pem) == 400


async def life_of_the_certificate(it: Operator) -> object:
    shown = await it.certificate()
    return _life(ssl.DER_cert_to_PEM_cert(shown).encode()) if shown else None


async def life_of_the_authority(it: Operator) -> object:
    secret = it.cluster.store.get("secrets", "spotalis-system", "spotalis-webhook-tls") or {}
    bundle = base64.b64decode((secret.get("data") or {}).get("ca.crt", ""))
    return _life(bundle) if bundle else None


def _life(cert_pem: bytes) -> timedelta:
    certificate = x509.load_pem_x509_certificate(cert_pem)
    valid_for = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return valid_for - BACKDATED


async def secrets_filled(it: Operator) -> object:
    return {one["metadata"]["name"] for one in it.cluster.store.list("secrets") if one.get("data")}


async def certificate_is_ours(it: Operator) -> object:
    shown = await it.certificate()
    return (shown == OURS.der) if shown else None


async def name_in_the_certificate(it: Operator) -> object:
    shown = await it.certificate()
    names = (b"spotalis-webhook.spotalis-system.svc", b"hook.spotalis-system.svc")
    # In DER a name stands as it is, after its length.
    return {name.decode() for name in names if bytes([len(name)]) + name in shown}


async def bundles_written(it: Operator) -> object:
    return {
        one["metadata"]["name"]
        for one in it.cluster.store.list("mutatingwebhookconfigurations")
        if one["webhooks"][0]["clientConfig"].get("caBundle")
    }


async def loggers_that_debug(it: Operator) -> object:
    """After a caller of the webhook has spoken no TLS."""
    try:
        _, writer = await asyncio.open_connection(HOST, it.ports[0])
    except OSError:
        return None
    writer.write(b"hello")
    writer.close()
    return {line["logger"] for line in it.log_lines() if line["level"] == "debug"}


async def log_is_json(it: Operator) -> object:
    text = it.log_text()
    return text.startswith("{") if "Synced caches" in text else None


# -- the rows ----------------------------------------------------------------------------------


class OurCertificate:
    """A pair in files, made once."""

    def __init__(self) -> None:
        self.pair = a_pair()
        self.ca_pem = self.pair.authority.cert_pem.bytes()
        first = self.pair.cert_pem.decode().partition("-----END CERTIFICATE-----")
        self.der = ssl.PEM_cert_to_DER_cert(first[0] + first[1])


OURS = OurCertificate()
STRANGER = a_pair()
FILES: Mapping[str, object] = {
    "serving.certificateFile": "FOLDER/tls.crt",
    "serving.keyFile": "FOLDER/tls.key",
}
SELF_MADE: Mapping[str, object] = dict.fromkeys(FILES)
WATCHING: Mapping[str, object] = {"readOnly": True}
IN_A_STORM: Mapping[str, object] = {"identity": "stormy"}
"""For a process of its own: nodes are lost."""
NEVER_OPEN: Mapping[str, object] = {
    "defaults.disruption-schedule": "0 0 29 2 *",
    "defaults.disruption-duration": "1m",
}
GROUP = {
    "name": "ours",
    "marker": "pool",
    "rules": [{"capacityType": "spot", "key": "pool", "values": list(CHEAP.values())}],
}


def _an_hour_ago_in_kiritimati() -> str:
    """A schedule that opened an hour ago, and stays open for 3 h, on a clock 14 h ahead."""
    there = datetime.now(ZoneInfo("Pacific/Kiritimati"))  # noqa: TID251  # a window that is open now
    return f"0 {(there.hour - 1) % 24} * * *"


ROWS = [
    Row(
        change={"namespace": "ops"},
        look=leases,
        before={("spotalis-system", "spotalis")},
        after={("ops", "spotalis")},
    ),
    Row(change={"identity": "me"}, look=is_called_me, before=False, after=True),
    Row(change={"readOnly": True}, look=evicts_or_says, before="evicts", after="ReadOnly"),
    Row(
        change={"resync": "5s"},
        look=turns_without_a_change,
        given=WATCHING,
        before=False,
        after=True,
    ),
    Row(
        change={"cooldown": "1h"},
        look=said_after_a_move,
        moving=True,
        before="goes on",
        after=(1, "Cooldown"),
    ),
    Row(change={"maxMovesInFlight": 1}, look=evictions("api", "db"), before=2, after=1),
    Row(
        change={"status.conditions": False},
        look=has_our_condition,
        before=True,
        after=False,
    ),
    Row(
        change={"namespaceSelector": {"matchLabels": {"team": "a"}}},
        look=managed_namespaces,
        before={"shop", "data"},
        after={"shop"},
    ),
    Row(
        change={
            "namespaceSelector": {
                "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]
            }
        },
        look=managed_namespaces,
        before={"shop", "data"},
        after={"data"},
    ),
    Row(
        change={"excludedNamespaces": ["data", "ops"]},
        look=managed_namespaces,
        before={"shop", "data"},
        after={"shop"},
    ),
    Row(
        change={"watchNamespaces": ["shop"]},
        look=managed_namespaces,
        before={"shop", "data"},
        after={"shop"},
    ),
    Row(
        change={"nodeGroups": [GROUP]},
        look=replicas("odd", "ready"),
        before={"unknown": 2},
        after={"spot": 2},
    ),
    Row(
        change={"builtInNodeGroups": False},
        look=replicas("api", "ready"),
        given=WATCHING,
        before={"on-demand": 4},
        after={"unknown": 4},
    ),
    Row(
        change={"spotTolerations": [{"key": "example.com/cheap", "operator": "Exists"}]},
        look=tolerated_by_a_new_pod,
        before=set(),
        after={"example.com/cheap"},
    ),
    Row(
        change={"defaults.spot-percentage": 50},
        look=replicas("plain", "desired"),
        before={"on-demand": 4},
        after={"on-demand": 2, "spot": 2},
    ),
    Row(
        change={"defaults.min-on-demand": 3},
        look=replicas("plain", "desired"),
        given={"defaults.spot-percentage": "100%"},
        before={"spot": 4},
        after={"on-demand": 3, "spot": 1},
    ),
    Row(
        change={"defaults.spot-fallback": "1s"},
        look=waits_or_falls_back,
        moving=True,
        before="waits",
        after="falls back",
    ),
    Row(change=NEVER_OPEN, look=evicts_or_says, before="evicts", after="OutsideWindow"),
    Row(
        change={"defaults.disruption-duration": "1d"},
        look=evicts_or_says,
        given={"defaults.disruption-schedule": "0 0 * * *", "defaults.disruption-duration": "1ms"},
        before="OutsideWindow",
        after="evicts",
    ),
    Row(
        change={"defaults.disruption-timezone": "Pacific/Kiritimati"},
        look=evicts_or_says,
        given={
            "defaults.disruption-schedule": _an_hour_ago_in_kiritimati(),
            "defaults.disruption-duration": "3h",
        },
        before="OutsideWindow",
        after="evicts",
    ),
    Row(
        change={"defaults.paused-until": "forever"},
        look=evicts_or_says,
        before="evicts",
        after="Paused",
    ),
    Row(
        change={"defaults.max-moves-in-flight": 2},
        look=evictions("api"),
        before=1,
        after=2,
    ),
    *(
        Row(change=change, look=storms, given=IN_A_STORM, before=True, after=False)
        for change in (
            {"storm.thresholdPercent": 50},
            {"storm.minNodes": 4},
            {"storm.window": "1s"},
            {"storm.cooldown": "2s"},
        )
    ),
    Row(
        change={"interruption.evictEarly": True},
        look=evicts_at_a_notice,
        given={"identity": "early"},
        moving=True,
        before=False,
        after=True,
    ),
    Row(
        change={"pdbOverride": True},
        look=deletes_what_a_budget_blocks,
        given={"identity": "override"},
        moving=True,
        before="waits",
        after="deletes",
    ),
    Row(
        change={"leaderElection.enabled": False},
        look=readyz_of_election,
        before="active",
        after="disabled",
    ),
    Row(
        change={"leaderElection.leaseName": "other"},
        look=leases,
        before={("spotalis-system", "spotalis")},
        after={("spotalis-system", "other")},
    ),
    Row(
        change={"leaderElection.leaseDuration": "20s"},
        look=lease_says("leaseDurationSeconds"),
        before=15,
        after=20,
    ),
    Row(
        change={"leaderElection.renewDeadline": "2s"},
        look=leads_without_renewing,
        given={
            "leaderElection.leaseDuration": "40s",
            "leaderElection.renewDeadline": "30s",
            "leaderElection.retryPeriod": "500ms",
        },
        before=True,
        after=False,
    ),
    Row(
        change={"leaderElection.retryPeriod": "500ms"},
        look=renews_often,
        before=False,
        after=True,
    ),
    Row(
        change={"api.requestsPerSecond": 1},
        look=first_reads_are_far_apart,
        given={"api.burst": 1},
        before=False,
        after=True,
    ),
    Row(
        change={"api.burst": 1},
        look=first_reads_are_far_apart,
        given={"api.requestsPerSecond": 1},
        before=False,
        after=True,
    ),
    Row(
        change={"serving.host": "127.0.0.2"},
        look=hosts_it_listens_on,
        before={HOST},
        after={"127.0.0.2"},
    ),
    *(
        Row(
            change={f"serving.{name}": "OTHER_PORT"},
            look=listens(number),
            before={"usual"},
            after={"other"},
        )
        for number, name in enumerate(("webhookPort", "metricsPort", "healthPort"))
    ),
    Row(change=FILES, look=certificate_is_ours, given=SELF_MADE, before=False, after=True),
    Row(
        change={"webhook.configurationName": "other"},
        look=bundles_written,
        given=SELF_MADE,
        before={"spotalis"},
        after={"other"},
    ),
    Row(
        change={"webhook.serviceName": "hook"},
        look=name_in_the_certificate,
        given=SELF_MADE,
        before={"spotalis-webhook.spotalis-system.svc"},
        after={"hook.spotalis-system.svc"},
    ),
    Row(
        change={"webhook.certificates.secretName": "other"},
        look=secrets_filled,
        given=SELF_MADE,
        before={"spotalis-webhook-tls"},
        after={"other"},
    ),
    Row(
        change={"webhook.certificates.duration": "30d"},
        look=life_of_the_certificate,
        given=SELF_MADE,
        before=timedelta(days=90),
        after=timedelta(days=30),
    ),
    Row(
        change={"webhook.certificates.caDuration": "200d"},
        look=life_of_the_authority,
        given=SELF_MADE,
        before=timedelta(days=365),
        after=timedelta(days=200),
    ),
    Row(
        change={"serving.advertiseAddress": "10.1.2.3"},
        look=address_in_the_lease,
        before="127.0.0.1",
        after="10.1.2.3",
    ),
    Row(
        change={"serving.caFile": "FOLDER/ca.crt"},
        look=lets_a_stranger_in,
        before=True,
        after=False,
    ),
    Row(
        change={"serving.clientCAFile": "FOLDER/ca.crt", "serving.clientName": "kube-apiserver"},
        look=answer_to_who_shows_nothing,
        before=400,
        after=403,
    ),
    Row(
        change={"logging.level": "debug"},
        look=loggers_that_debug,
        before=set(),
        after={"spotalis.webhook.connections", "asyncio"},
    ),
    Row(
        change={"logging.levels": {"spotalis.webhook": "debug"}},
        look=loggers_that_debug,
        before=set(),
        after={"spotalis.webhook.connections"},
    ),
    Row(change={"logging.format": "text"}, look=log_is_json, before=True, after=False),
]
"""Of a new row, see both halves fail: with a look at nothing, and with the setting not used."""


# -- running them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the looks at a row's two processes came to."""

    before: object
    after: object


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Seen]:
    """Every row, by its number."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "tls.crt").write_bytes(OURS.pair.cert_pem)
    (folder / "tls.key").write_bytes(OURS.pair.key_pem)
    (folder / "ca.crt").write_bytes(OURS.ca_pem)
    return asyncio.run(_all_seen(folder))


async def _all_seen(folder: Path) -> Mapping[int, Seen]:
    places = asyncio.Semaphore(SIDE_BY_SIDE)
    alike: dict[str, list[int]] = {}
    for number, row in enumerate(ROWS):
        alike.setdefault(repr((row.given, row.moving)), []).append(number)
    unchanged = (_looked(places, folder, rows, changed=False) for rows in alike.values())
    changed = (_looked(places, folder, [number], changed=True) for number in range(len(ROWS)))
    found = await asyncio.gather(*changed, *unchanged)
    after = dict(pair for pairs in found[: len(ROWS)] for pair in pairs.items())
    before = dict(pair for pairs in found[len(ROWS) :] for pair in pairs.items())
    return {number: Seen(before[number], after[number]) for number in after}


async def _looked(
    places: asyncio.Semaphore, folder: Path, numbers: Sequence[int], *, changed: bool
) -> dict[int, object]:
    """What was seen of one process, by row; ``before`` or ``after`` if it was seen steadily."""
    row = ROWS[numbers[0]]
    async with places:
        claim = claim_ports()
        at = folder / f"{numbers[0]}-{'after' if changed else 'before'}"
        put = {"FOLDER": str(folder), "OTHER_PORT": str(claim.ports[3])}
        common = {
            "serving.host": HOST,
            "serving.webhookPort": claim.ports[0],
            "serving.metricsPort": claim.ports[1],
            "serving.healthPort": claim.ports[2],
            **FILES,
            **row.given,
        }
        file = {path: value for path, value in _put(common, put).items() if value is not None}
        flags, variables = (
            _sources(numbers[0], _put(row.change, put), file) if changed else ([], {})
        )
        running = operator(
            at,
            claim.ports,
            _nested(file),
            flags=flags,
            variables=variables,
            webhook_ca=OURS.ca_pem if row.moving else None,
        )
        try:
            async with running as it:
                expected = {n: ROWS[n].after if changed else ROWS[n].before for n in numbers}
                looks = (_steadily(ROWS[n].look, expected[n], it) for n in numbers)
                return dict(zip(numbers, await asyncio.gather(*looks), strict=True))
        finally:
            claim.release()


def _sources(
    number: int, change: Mapping[str, Any], file: dict[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """The flags and variables that make the change; one time in three it goes into the file."""
    flags: list[str] = []
    variables: dict[str, str] = {}
    for path, value in change.items():
        setting = SETTINGS[path]
        text = value if isinstance(value, str) else json.dumps(value)
        match number % 3:
            case 0:
                file[path] = value
            case 1:
                variables[setting.variable] = text
            case _ if isinstance(value, bool):
                flags.append(f"--{setting.flag}" if value else f"--no-{setting.flag}")
            case _:
                flags += [f"--{setting.flag}", text]
    return flags, variables


async def _steadily(look: Look, expected: object, it: Operator) -> object:
    steady, last = 0, None
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while steady < STEADY_LOOKS:
                if it.process.returncode is not None:
                    return f"ended with {it.process.returncode}: {it.log_text()}"
                last = await look(it)
                steady = steady + 1 if last == expected else 0
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pass  # what it came to is what the test compares
    return last


def _put(values: Mapping[str, object], places: Mapping[str, str]) -> dict[str, Any]:
    """Values with the names of this run's folder and port in their places."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        if value == "OTHER_PORT":
            value = int(places[value])
        elif isinstance(value, str):
            value = value.replace("FOLDER", places["FOLDER"])
        found[path] = value
    return found


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    """By path to by section."""
    root: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        at = root
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return root


# -- the tests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(ROWS)), ids=map(str, ROWS))
def test_a_running_process_heeds_the_setting(number: int, seen: Mapping[int, Seen]) -> None:
    row = ROWS[number]
    assert row.before != row.after
    assert (seen[number].before, seen[number].after) == (row.before, row.after)


def test_every_declared_setting_has_a_row() -> None:
    assert {path for row in ROWS for path in row.change} == set(SETTINGS)


def test_no_row_turns_a_setting_to_its_default() -> None:
    for row in ROWS:
        for path, value in row.change.items():
            setting = SETTINGS[path]
            assert value != setting.default, path
