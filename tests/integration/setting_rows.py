"""For each setting, a changed value and what it must change about a running operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tests.integration.setting_probes import (
    Probe,
    accepts_unknown_ca,
    address_in_lease,
    ca_lifetime,
    certificate_lifetime,
    configurations_with_ca_bundle,
    count_evictions,
    count_replicas,
    created_leases,
    declares_storm,
    deletes_or_waits_for_budget,
    evicts_on_notice,
    evicts_or_reason,
    has_condition,
    has_identity_me,
    leader_election_in_readyz,
    leads_without_renewal,
    lease_field,
    listening_hosts,
    listening_ports,
    loggers_at_debug,
    logs_are_json,
    managed_namespaces,
    names_in_certificate,
    reason_after_first_move,
    reconciles_without_change,
    renews_often,
    serves_certificate_from_file,
    spreads_first_requests,
    status_without_client_certificate,
    stays_off_unstable_spot,
    tolerations_of_new_pod,
    waits_or_falls_back,
    written_secrets,
)
from tests.support.operator_process import CHEAP, HOST


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting with a changed value, or several that are valid only together."""

    change: Mapping[str, object]
    """Key to value."""
    probe: Probe
    """What is compared. Repeated until it returns the expected value three times in a row."""
    before: object
    after: object
    given: Mapping[str, object] = field(default_factory=dict)
    """Settings of both processes; None removes one of the common settings."""
    moving: bool = False
    """Whether kubelet and webhook run, so that evicted pods are replaced."""

    def __str__(self) -> str:
        return "+".join(self.change)


FILES: Mapping[str, object] = {
    "serving.certificateFile": "FOLDER/tls.crt",
    "serving.keyFile": "FOLDER/tls.key",
}
SELF_MADE: Mapping[str, object] = dict.fromkeys(FILES)
WATCHING: Mapping[str, object] = {"readOnly": True}
IN_A_STORM: Mapping[str, object] = {"identity": "stormy"}
"""Gives these rows a process of their own, because they lose nodes."""
NEVER_OPEN: Mapping[str, object] = {
    "defaults.disruption-schedule": "0 0 29 2 *",
    "defaults.disruption-duration": "1m",
}
GROUP = {
    "name": "example",
    "marker": "pool",
    "rules": [{"capacityType": "spot", "key": "pool", "values": list(CHEAP.values())}],
}


def _an_hour_ago_in_kiritimati() -> str:
    """A schedule that opened an hour ago in a time zone 14 h ahead of UTC."""
    there = datetime.now(ZoneInfo("Pacific/Kiritimati"))  # noqa: TID251  # a window that is open now
    return f"0 {(there.hour - 1) % 24} * * *"


ROWS = [
    Row(
        change={"namespace": "ops"},
        probe=created_leases,
        before={("spotalis-system", "spotalis")},
        after={("ops", "spotalis")},
    ),
    Row(change={"identity": "me"}, probe=has_identity_me, before=False, after=True),
    Row(change={"readOnly": True}, probe=evicts_or_reason, before="evicts", after="ReadOnly"),
    Row(
        change={"resync": "5s"},
        probe=reconciles_without_change,
        given=WATCHING,
        before=False,
        after=True,
    ),
    Row(
        change={"cooldown": "1h"},
        probe=reason_after_first_move,
        moving=True,
        before="moves again",
        after=(1, "Cooldown"),
    ),
    Row(change={"maxMovesInFlight": 1}, probe=count_evictions("api", "db"), before=2, after=1),
    Row(
        change={"status.conditions": False},
        probe=has_condition,
        before=True,
        after=False,
    ),
    Row(
        change={"namespaceSelector": {"matchLabels": {"team": "a"}}},
        probe=managed_namespaces,
        before={"shop", "data"},
        after={"shop"},
    ),
    Row(
        change={
            "namespaceSelector": {
                "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]
            }
        },
        probe=managed_namespaces,
        before={"shop", "data"},
        after={"data"},
    ),
    Row(
        change={"excludedNamespaces": ["data", "ops"]},
        probe=managed_namespaces,
        before={"shop", "data"},
        after={"shop"},
    ),
    Row(
        change={"watchNamespaces": ["shop"]},
        probe=managed_namespaces,
        before={"shop", "data"},
        after={"shop"},
    ),
    Row(
        change={"nodeGroups": [GROUP]},
        probe=count_replicas("odd", "ready"),
        before={"unknown": 2},
        after={"spot": 2},
    ),
    Row(
        change={"builtInNodeGroups": False},
        probe=count_replicas("api", "ready"),
        given=WATCHING,
        before={"on-demand": 4},
        after={"unknown": 4},
    ),
    Row(
        change={"spotTolerations": [{"key": "example.com/cheap", "operator": "Exists"}]},
        probe=tolerations_of_new_pod,
        before=set(),
        after={"example.com/cheap"},
    ),
    Row(
        change={"defaults.spot-percentage": 50},
        probe=count_replicas("plain", "desired"),
        before={"on-demand": 4},
        after={"on-demand": 2, "spot": 2},
    ),
    Row(
        change={"defaults.min-on-demand": 3},
        probe=count_replicas("plain", "desired"),
        given={"defaults.spot-percentage": "100%"},
        before={"spot": 4},
        after={"on-demand": 3, "spot": 1},
    ),
    Row(
        change={"defaults.spot-fallback": "1s"},
        probe=waits_or_falls_back,
        moving=True,
        before="waits",
        after="falls back",
    ),
    Row(change=NEVER_OPEN, probe=evicts_or_reason, before="evicts", after="OutsideWindow"),
    Row(
        change={"defaults.disruption-duration": "1d"},
        probe=evicts_or_reason,
        given={"defaults.disruption-schedule": "0 0 * * *", "defaults.disruption-duration": "1ms"},
        before="OutsideWindow",
        after="evicts",
    ),
    Row(
        change={"defaults.disruption-timezone": "Pacific/Kiritimati"},
        probe=evicts_or_reason,
        given={
            "defaults.disruption-schedule": _an_hour_ago_in_kiritimati(),
            "defaults.disruption-duration": "3h",
        },
        before="OutsideWindow",
        after="evicts",
    ),
    Row(
        change={"defaults.paused-until": "forever"},
        probe=evicts_or_reason,
        before="evicts",
        after="Paused",
    ),
    Row(
        change={"defaults.max-moves-in-flight": 2},
        probe=count_evictions("api"),
        before=1,
        after=2,
    ),
    *(
        Row(change=change, probe=declares_storm, given=IN_A_STORM, before=True, after=False)
        for change in (
            {"storm.thresholdPercent": 50},
            {"storm.minNodes": 4},
            {"storm.window": "1s"},
            {"storm.cooldown": "2s"},
        )
    ),
    *(
        Row(
            change=change,
            probe=stays_off_unstable_spot,
            given={"identity": "unstable"},
            moving=True,
            before=True,
            after=False,
        )
        for change in (
            {"breaker.interruptions": 0},
            {"breaker.within": "1s"},
            {"breaker.for": "1s"},
        )
    ),
    Row(
        change={"interruption.evictEarly": True},
        probe=evicts_on_notice,
        given={"identity": "early"},
        moving=True,
        before=False,
        after=True,
    ),
    Row(
        change={"pdbOverride": True},
        probe=deletes_or_waits_for_budget,
        given={"identity": "override"},
        moving=True,
        before="waits",
        after="deletes",
    ),
    Row(
        change={"leaderElection.enabled": False},
        probe=leader_election_in_readyz,
        before="active",
        after="disabled",
    ),
    Row(
        change={"leaderElection.leaseName": "other"},
        probe=created_leases,
        before={("spotalis-system", "spotalis")},
        after={("spotalis-system", "other")},
    ),
    Row(
        change={"leaderElection.leaseDuration": "20s"},
        probe=lease_field("leaseDurationSeconds"),
        before=15,
        after=20,
    ),
    Row(
        change={"leaderElection.renewDeadline": "2s"},
        probe=leads_without_renewal,
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
        probe=renews_often,
        before=False,
        after=True,
    ),
    Row(
        change={"api.requestsPerSecond": 1},
        probe=spreads_first_requests,
        given={"api.burst": 1},
        before=False,
        after=True,
    ),
    Row(
        change={"api.burst": 1},
        probe=spreads_first_requests,
        given={"api.requestsPerSecond": 1},
        before=False,
        after=True,
    ),
    Row(
        change={"serving.host": "127.0.0.2"},
        probe=listening_hosts,
        before={HOST},
        after={"127.0.0.2"},
    ),
    *(
        Row(
            change={f"serving.{name}": "OTHER_PORT"},
            probe=listening_ports(number),
            before={"usual"},
            after={"other"},
        )
        for number, name in enumerate(("webhookPort", "metricsPort", "healthPort"))
    ),
    Row(
        change=FILES, probe=serves_certificate_from_file, given=SELF_MADE, before=False, after=True
    ),
    Row(
        change={"webhook.configurationName": "other"},
        probe=configurations_with_ca_bundle,
        given=SELF_MADE,
        before={"spotalis"},
        after={"other"},
    ),
    Row(
        change={"webhook.serviceName": "hook"},
        probe=names_in_certificate,
        given=SELF_MADE,
        before={"spotalis-webhook.spotalis-system.svc"},
        after={"hook.spotalis-system.svc"},
    ),
    Row(
        change={"webhook.certificates.secretName": "other"},
        probe=written_secrets,
        given=SELF_MADE,
        before={"spotalis-webhook-tls"},
        after={"other"},
    ),
    Row(
        change={"webhook.certificates.duration": "30d"},
        probe=certificate_lifetime,
        given=SELF_MADE,
        before=timedelta(days=90),
        after=timedelta(days=30),
    ),
    Row(
        change={"webhook.certificates.caDuration": "200d"},
        probe=ca_lifetime,
        given=SELF_MADE,
        before=timedelta(days=365),
        after=timedelta(days=200),
    ),
    Row(
        change={"serving.advertiseAddress": "10.1.2.3"},
        probe=address_in_lease,
        before="127.0.0.1",
        after="10.1.2.3",
    ),
    Row(
        change={"serving.caFile": "FOLDER/ca.crt"},
        probe=accepts_unknown_ca,
        before=True,
        after=False,
    ),
    Row(
        change={"serving.clientCAFile": "FOLDER/ca.crt", "serving.clientName": "kube-apiserver"},
        probe=status_without_client_certificate,
        before=400,
        after=403,
    ),
    Row(
        change={"logging.level": "debug"},
        probe=loggers_at_debug,
        before=set(),
        after={"spotalis.web.listener", "asyncio"},
    ),
    Row(
        change={"logging.levels": {"spotalis.web": "debug"}},
        probe=loggers_at_debug,
        before=set(),
        after={"spotalis.web.listener"},
    ),
    Row(change={"logging.format": "text"}, probe=logs_are_json, before=True, after=False),
]
"""For a new row, check that the test fails if the probe returns a constant and if the setting is
ignored."""
