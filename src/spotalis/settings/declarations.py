"""Every setting of the operator, declared once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta

import msgspec

from spotalis.model.controller_configuration import (
    APIRateLimiter,
    ControllerConfiguration,
    InterruptionBreaker,
    LeaderElection,
    NamespaceFilter,
    StormBreaker,
)
from spotalis.model.durations import format_duration
from spotalis.model.objects import LabelSelector
from spotalis.model.policy_values import KEYS
from spotalis.settings.options import LogOptions, ServingOptions
from spotalis.settings.selectors import NODE_GROUP, SELECTOR, TOLERATION
from spotalis.settings.value_types import (
    BOOLEAN,
    FILE,
    ValueType,
    choice,
    duration,
    list_of,
    map_of,
    number,
    policy_value,
    set_of,
    snake_case,
    text,
)

_DNS_LABEL = text("a lower-case DNS label", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", max_length=63)
_DNS_NAME = text("a lower-case DNS name", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_NAMESPACES = set_of("names of namespaces", _DNS_LABEL)
_PORT = number(1, 65535)
_DURATION = duration("1s")
_LEVEL = choice("debug", "info", "warning", "error")
_LOGGER = text("the name of a logger", r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")

FILE_VARIABLE = "SPOTALIS_CONFIG"
"""The environment variable that names the settings file."""

ANNOTATION_ONLY_KEYS = frozenset({"pdb-override", "paused-reason"})
"""Policy keys without a default: the operator permits them, and each owner opts in."""

_OWNERS: Mapping[str, Callable[[], object]] = {
    "defaults": dict,
    "api": APIRateLimiter,
    "leaderElection": LeaderElection,
    "storm": StormBreaker,
    "breaker": InterruptionBreaker,
    "serving": ServingOptions,
    "webhook": ServingOptions,
    "logging": LogOptions,
}
"""The class that holds the settings of a section; others are in ControllerConfiguration."""
_NAMESPACE_FIELDS = {
    "namespaceSelector": "selector",
    "excludedNamespaces": "excluded",
    "watchNamespaces": "watched",
}
"""The fields of NamespaceFilter; all other fields are named like their settings."""
_KEYWORDS = {"for": "open_for"}
"""Except those that are keywords of Python."""
_FIELD_NAMES = _NAMESPACE_FIELDS | _KEYWORDS


class Setting(msgspec.Struct, frozen=True, eq=False):
    """The declaration of one setting; variable, flag, schema and documentation follow from it."""

    key: str
    """In the settings file: ``leaderElection.leaseDuration``."""
    type: ValueType
    help: str
    """One or two sentences, in Markdown."""
    live: bool = False
    """Whether SIGHUP applies a change; other settings are read at start only."""

    @property
    def variable(self) -> str:
        """``SPOTALIS_LEADER_ELECTION_LEASE_DURATION``."""
        return "SPOTALIS_" + snake_case(self.key).upper()

    @property
    def flag(self) -> str:
        """Without dashes: ``leader-election-lease-duration``, ``webhook-port``, ``log-level``."""
        key = self.key.removeprefix("serving.").removesuffix(".enabled")
        return snake_case(re.sub("^(log)ging|^(default)s", r"\1\2", key)).replace("_", "-")

    @property
    def section(self) -> str:
        """``leaderElection``; empty for a key of the top level."""
        return self.key.partition(".")[0] if "." in self.key else ""

    @property
    def owner(self) -> Callable[[], object]:
        """The class that holds the value: ``LeaderElection``."""
        if self.key in _NAMESPACE_FIELDS:
            return NamespaceFilter
        return _OWNERS.get(self.section, ControllerConfiguration)

    @property
    def field(self) -> str:
        """The name of the value in its owner: ``lease_duration``."""
        name = self.key.rpartition(".")[2]
        return name if self.owner is dict else _FIELD_NAMES.get(name) or snake_case(name)

    @property
    def default_value(self) -> object:
        """The default; empty if there is none."""
        return getattr(self.owner(), self.field, "")

    @property
    def default(self) -> object:
        """The default as it would be written; empty if there is none."""
        match self.default_value:
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


_DECLARATIONS = (
    Setting(
        "namespace",
        _DNS_LABEL,
        "Namespace of the operator, its Lease and its Service. Workloads in it are never managed.",
    ),
    Setting("identity", _DNS_NAME, "Unique name of this instance. If empty, the host name."),
    Setting("readOnly", BOOLEAN, "Compute and report decisions, but evict and place no pods."),
    Setting("resync", duration("5s"), "Full resync interval."),
    Setting("cooldown", duration("0s"), "Minimum time between two moves of one workload."),
    Setting("maxMovesInFlight", number(1, 1000), "Maximum number of open moves in the cluster."),
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
    ),
    Setting(
        "excludedNamespaces",
        _NAMESPACES,
        "Namespaces that are never managed, in addition to `kube-system` and the operator's own.",
    ),
    Setting(
        "watchNamespaces",
        _NAMESPACES,
        "Watch workloads and pods in these namespaces only, so that permissions there are enough. "
        "Spotalis then cannot see the other pods on a node, and probes spot capacity with one "
        "replica before it moves more. If empty, the whole cluster is watched.",
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
        "Write the condition `spotalis.io/Balanced`. If false, it is removed where it exists.",
    ),
    Setting("api.requestsPerSecond", number(0.1, 10_000), "Maximum sustained API request rate."),
    Setting("api.burst", number(1, 10_000), "Maximum number of API requests in a burst."),
    Setting("leaderElection.enabled", BOOLEAN, "Elect a leader. Disable it for one instance only."),
    Setting("leaderElection.leaseName", _DNS_NAME, "Name of the Lease, as in the operator's Role."),
    Setting(
        "leaderElection.leaseDuration",
        duration("1s", whole_seconds=True),
        "How long the other instances wait after the last renewal before one of them takes over.",
    ),
    Setting(
        "leaderElection.renewDeadline",
        _DURATION,
        "How long the leader leads without a renewal. Must be shorter than the lease duration.",
    ),
    Setting(
        "leaderElection.retryPeriod",
        duration("100ms"),
        "Interval between attempts to get the Lease. Must be shorter than the renew deadline.",
    ),
    Setting(
        "storm.thresholdPercent",
        number(0, 100),
        "A storm is declared, and moves to spot stop, when more than this percentage of the spot "
        "nodes is lost within the window.",
    ),
    Setting("storm.minNodes", number(1, 10_000), "Minimum number of lost spot nodes for a storm."),
    Setting("storm.window", _DURATION, "Time within which losses of spot nodes count together."),
    Setting("storm.cooldown", _DURATION, "How long moves to spot stop after the last lost node."),
    Setting(
        "breaker.interruptions",
        number(0, 100),
        "Interruptions of a workload's spot replicas after which its replicas of spot slots start "
        "on on-demand for a while. 0 turns this off.",
    ),
    Setting("breaker.within", _DURATION, "Time within which interruptions count together."),
    Setting(
        "breaker.for",
        _DURATION,
        "How long no replica of the workload starts on spot; then one tries.",
    ),
    Setting("interruption.evictEarly", BOOLEAN, "Evict pods when an interruption is announced."),
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
    Setting("serving.clientCAFile", FILE, "CA of the client certificate of the API server (PEM)."),
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
        duration("10m"),
        "Lifetime of certificates that Spotalis issues. They are renewed after two thirds of it.",
    ),
    Setting(
        "webhook.certificates.caDuration",
        duration("30m"),
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

SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _DECLARATIONS}
"""By key, in the order of their declaration."""
