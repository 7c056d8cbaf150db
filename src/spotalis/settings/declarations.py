"""Every setting of the operator, declared once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from spotalis.model.configuration import KEYS
from spotalis.model.durations import format_duration
from spotalis.model.objects import LabelSelector
from spotalis.settings.options import Settings, default_of
from spotalis.settings.selectors import NODE_GROUP, SELECTOR, TOLERATION
from spotalis.settings.value_types import (
    BOOLEAN,
    FILE,
    ValueType,
    choice,
    duration,
    integer,
    list_of,
    map_of,
    names,
    number,
    policy_value,
    text,
)

_SECOND = timedelta(seconds=1)
_DNS_LABEL = text("a lower-case DNS label", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", max_length=63)
_DNS_NAME = text("a lower-case DNS name", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_NAMESPACES = names("names of namespaces", _DNS_LABEL)
_PORT = integer(1, 65535)
_LEVEL = choice("debug", "info", "warning", "error")
_LOGGER = text("the name of a logger", r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")

FILE_VARIABLE = "SPOTALIS_CONFIG"
"""The environment variable that names the settings file."""

ANNOTATION_ONLY_KEYS = frozenset({"pdb-override"})
"""Policy keys without a default: the operator permits them, and each owner opts in."""


_OBJECTS = {
    "": "controller",
    "status": "controller",
    "defaults": "controller.defaults",
    "api": "controller.rate_limit",
    "leaderElection": "controller.leader_election",
    "storm": "controller.storm",
    "interruption": "controller",
    "serving": "serving",
    "webhook": "serving",
    "logging": "logging",
}
"""The object in :class:`Settings` that holds the settings of a section."""


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting; variable, flag, schema and documentation follow from it."""

    key: str
    """In the settings file: ``leaderElection.leaseDuration``."""
    type: ValueType[Any]
    help: str
    """One or two sentences, in Markdown."""
    field: str = ""
    """The field of :class:`Settings` that holds the value; derived from the key if empty."""
    live: bool = False
    """Whether SIGHUP applies a change; other settings are read at start only."""

    def __post_init__(self) -> None:
        """Derive the field: the key's last word, in the object of the key's section."""
        name = self.key.rpartition(".")[2]
        name = name if self.section == "defaults" else _in_words(name).replace("-", "_")
        object.__setattr__(self, "field", self.field or f"{_OBJECTS[self.section]}.{name}")

    @property
    def variable(self) -> str:
        """``SPOTALIS_LEADER_ELECTION_LEASE_DURATION``."""
        return "SPOTALIS_" + _in_words(self.key).replace("-", "_").upper()

    @property
    def flag(self) -> str:
        """Without dashes: ``leader-election-lease-duration``, ``webhook-port``, ``log-level``."""
        key = self.key.removeprefix("serving.").removesuffix(".enabled")
        return _in_words(re.sub("^(log)ging|^(default)s", r"\1\2", key))

    @property
    def section(self) -> str:
        """``leaderElection``; empty for a key of the top level."""
        section, dot, _ = self.key.partition(".")
        return section if dot else ""

    @cached_property
    def default(self) -> object:
        """The default as it would be written; empty if there is none."""
        match default_of(Settings, self.field):
            case None:
                return ""
            case timedelta() as value:
                return format_duration(value)
            case float() as value if value.is_integer():
                return int(value)
            case frozenset() | tuple() as value:
                return sorted(value)
            case LabelSelector():
                return {}
            case value:
                return value


def _in_words(key: str) -> str:
    """``leaderElection.leaseDuration`` as ``leader-election-lease-duration``."""
    return re.sub(
        "(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", key.replace(".", "-")
    ).lower()


DECLARATIONS = (
    Setting(
        "namespace",
        _DNS_LABEL,
        "Namespace of the operator, its Lease and its Service. Workloads in it are never managed.",
    ),
    Setting(
        "identity",
        _DNS_NAME,
        "Name of this instance in the Lease; must be unique. If empty, the host name.",
    ),
    Setting("readOnly", BOOLEAN, "Compute and report decisions, but evict and place no pods."),
    Setting("resync", duration(5 * _SECOND), "Full resync interval."),
    Setting("cooldown", duration(0 * _SECOND), "Minimum time between two moves of one workload."),
    Setting(
        "maxMovesInFlight",
        integer(1, 1000),
        "Maximum number of replicas that are being moved at any time in the whole cluster.",
    ),
    Setting(
        "pdbOverride",
        BOOLEAN,
        "Delete a pod if a PodDisruptionBudget blocks its move and the workload's owner has set "
        "`spotalis.io/pdb-override`. Requires permission to delete pods.",
    ),
    Setting(
        "namespaceSelector",
        SELECTOR,
        "Label selector of the namespaces to manage. If empty, every namespace is selected.",
        field="controller.namespaces.selector",
    ),
    Setting(
        "excludedNamespaces",
        _NAMESPACES,
        "Namespaces that are never managed, in addition to `kube-system` and the operator's own.",
        field="controller.namespaces.excluded",
    ),
    Setting(
        "watchNamespaces",
        _NAMESPACES,
        "Watch workloads and pods in these namespaces only, so that permissions there are enough. "
        "Spotalis then cannot see the other pods on a node, and probes spot capacity with one "
        "replica before it moves more. If empty, the whole cluster is watched.",
        field="controller.namespaces.watched",
    ),
    Setting(
        "nodeGroups",
        list_of("node groups", NODE_GROUP),
        "Rules that determine the capacity type of a node, evaluated before the built-in node "
        "groups. The name of a built-in group stands for that group.",
    ),
    Setting("builtInNodeGroups", BOOLEAN, "Also evaluate the built-in node groups."),
    Setting(
        "spotTolerations",
        list_of("tolerations", TOLERATION),
        "Tolerations to add to pods placed on spot, in addition to those of the node groups.",
    ),
    *(
        Setting(
            f"defaults.{key}",
            policy_value(key),
            f"Value of `spotalis.io/{key}` for enabled workloads if neither the workload nor its "
            "namespace sets it.",
        )
        for key in KEYS
        if key not in ANNOTATION_ONLY_KEYS
    ),
    Setting(
        "status.conditions",
        BOOLEAN,
        "Write the condition `spotalis.io/Balanced` to the status of Deployments.",
    ),
    Setting(
        "api.requestsPerSecond",
        number(0.1, 10_000),
        "Maximum sustained rate of requests to the API server.",
    ),
    Setting(
        "api.burst", integer(1, 10_000), "Maximum number of requests to the API server in a burst."
    ),
    Setting(
        "leaderElection.enabled",
        BOOLEAN,
        "Use leader election. Disable it only if a single instance runs.",
    ),
    Setting(
        "leaderElection.leaseName",
        _DNS_NAME,
        "Name of the Lease. The operator's Role grants access by this name.",
    ),
    Setting(
        "leaderElection.leaseDuration",
        duration(_SECOND, whole_seconds=True),
        "How long the other instances wait after the last renewal before one of them takes over.",
    ),
    Setting(
        "leaderElection.renewDeadline",
        duration(_SECOND),
        "How long the leader keeps leading without a successful renewal. Must be shorter than the "
        "lease duration.",
    ),
    Setting(
        "leaderElection.retryPeriod",
        duration(_SECOND / 10),
        "Interval between attempts to acquire or renew the Lease. Must be shorter than the renew "
        "deadline.",
    ),
    Setting(
        "storm.thresholdPercent",
        integer(0, 100),
        "A storm is declared, and moves to spot stop, when more than this percentage of the spot "
        "nodes is lost within the window.",
    ),
    Setting(
        "storm.minNodes",
        integer(1, 10_000),
        "Minimum number of lost spot nodes before a storm is declared.",
    ),
    Setting(
        "storm.window",
        duration(_SECOND),
        "Time within which losses of spot nodes are counted together.",
    ),
    Setting(
        "storm.cooldown",
        duration(_SECOND),
        "How long moves to spot stay stopped after the last loss of a storm.",
    ),
    Setting(
        "interruption.evictEarly",
        BOOLEAN,
        "Evict pods from a spot node as soon as its provider announces the interruption.",
    ),
    Setting(
        "serving.host",
        text("an address or a host name", r"[0-9A-Za-z.:%_-]+"),
        "Address or host name on which the webhook, metrics and health listen. If empty or `::`, "
        "all IPv4 and IPv6 addresses.",
    ),
    Setting("serving.webhookPort", _PORT, "Port of the webhook (HTTPS)."),
    Setting("serving.metricsPort", _PORT, "Port of `/metrics`."),
    Setting("serving.healthPort", _PORT, "Port of `/healthz` and `/readyz`."),
    Setting(
        "serving.certificateFile",
        FILE,
        "Certificate of the webhook (PEM), reloaded when the file changes. If empty, Spotalis "
        "issues a certificate itself and writes `caBundle`.",
    ),
    Setting("serving.keyFile", FILE, "Private key of `serving.certificateFile` (PEM)."),
    Setting(
        "serving.caFile",
        FILE,
        "CA of the certificate files of all instances (PEM); the certificates must include the "
        "name of the webhook's Service. Without it, instances do not forward admission requests "
        "to the leader.",
    ),
    Setting(
        "serving.advertiseAddress",
        text("an address", r"[0-9A-Za-z.:]+"),
        "Address, without port, at which the other instances reach this instance's webhook: the "
        "pod IP. If empty, `serving.host` if that is a single address; otherwise no admission "
        "requests are forwarded to this instance.",
    ),
    Setting(
        "serving.clientCAFile",
        FILE,
        "CA of the client certificate that the API server presents to webhooks (PEM).",
    ),
    Setting(
        "serving.clientName",
        text("a common name", r"[0-9A-Za-z.:@_-]+"),
        "Common name in the API server's client certificate. Requests with any other client "
        "certificate are rejected.",
    ),
    Setting(
        "webhook.configurationName",
        _DNS_NAME,
        "Name of the MutatingWebhookConfiguration into which `caBundle` is written. The "
        "operator's ClusterRole grants access by this name.",
    ),
    Setting(
        "webhook.serviceName",
        _DNS_LABEL,
        "Name of the webhook's Service; certificates that Spotalis issues are for its DNS name.",
    ),
    Setting(
        "webhook.certificates.secretName",
        _DNS_NAME,
        "Name of the Secret with the certificate that Spotalis issues and all instances share. "
        "The manifests create it empty; the operator's Role grants access by this name.",
    ),
    Setting(
        "webhook.certificates.duration",
        # A rotation waits a minute before each step (webhook/certificate_rotation.py).
        duration(600 * _SECOND),
        "Lifetime of certificates that Spotalis issues. They are renewed after two thirds of it.",
    ),
    Setting(
        "webhook.certificates.caDuration",
        duration(1800 * _SECOND),
        "Lifetime of the CA that signs these certificates. It is renewed in the same way.",
    ),
    Setting("logging.level", _LEVEL, "Minimum level of log lines.", live=True),
    Setting(
        "logging.levels",
        map_of("loggers to levels", _LOGGER, _LEVEL),
        "Levels of individual loggers, such as `spotalis.kube`, and of the loggers below them.",
        live=True,
    ),
    Setting("logging.format", choice("json", "text"), "Format of log lines on stderr."),
)

SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in DECLARATIONS}
"""By key, in the order of their declaration."""
