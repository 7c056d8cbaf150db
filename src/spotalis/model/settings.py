"""The operator's own settings: each declared once, where its value is held.

A field that is a setting is declared by :func:`setting`: its path in the settings file, its kind
with its bounds, its default, and one line of help. From that follow the key, the variable, the
flag, the JSON Schema and docs/reference/configuration.md; :func:`declared` lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from spotalis.model.configuration import KEYS
from spotalis.model.durations import format_duration
from spotalis.model.kinds import (
    Choice,
    Duration,
    File,
    Items,
    Kind,
    Names,
    Number,
    PolicyText,
    Table,
    Text,
    Truth,
    Whole,
)
from spotalis.model.nodes import BUILT_IN_GROUPS, NodeClassification, ProviderGroup
from spotalis.model.objects import LabelSelector, Namespace, Toleration
from spotalis.model.selections import NODE_GROUP, SELECTOR, TOLERATION

T = TypeVar("T")

_SETTING = "setting"
_SECOND = timedelta(seconds=1)
_DNS_LABEL = Text("a lower-case DNS label", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", most=63)
_DNS_NAME = Text("a lower-case DNS name", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LEVEL = Choice("debug", "info", "warning", "error")

OWNERS_ALONE = frozenset({"pdb-override"})
"""Keys that only owners may set: an operator allows it, and must not ask for it as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T]):
    """The declaration of one setting."""

    path: str
    """In the settings file: ``leaderElection.leaseDuration``."""
    kind: Kind[T]
    default: T
    about: str
    """One line of help."""
    flag: str
    """Without dashes; by default the path in words."""
    live: bool = False
    """Whether SIGHUP applies it; everything else is read at start."""
    item: str = ""
    """Of a field that holds a mapping with one setting for each key: the key."""

    @property
    def variable(self) -> str:
        """``SPOTALIS_LEADER_ELECTION_LEASE_DURATION``."""
        return "SPOTALIS_" + _words(self.path).replace("-", "_").upper()


def setting(
    path: str, kind: Kind[T], default: T, about: str, *, flag: str = "", live: bool = False
) -> T:
    """Declare a field of a dataclass to be a setting."""
    declaration = Setting(
        path=path, kind=kind, default=default, about=about, flag=flag or _words(path), live=live
    )
    made: T = field(metadata={_SETTING: (declaration,)}, **_default(default))
    return made


def policy_defaults() -> Mapping[str, str]:
    """Declare a field to hold one setting for each key that owners may write."""
    declarations = tuple(
        Setting(
            path=f"defaults.{key}",
            kind=PolicyText(key),
            default="",
            about=f"`spotalis.io/{key}` where neither an enabled workload nor its namespace says.",
            flag=f"default-{key}",
            item=key,
        )
        for key in KEYS
        if key not in OWNERS_ALONE
    )
    made: Mapping[str, str] = field(default_factory=dict, metadata={_SETTING: declarations})
    return made


def _default(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"default_factory": lambda: value}
    return {"default": value}


def _words(path: str) -> str:
    """``leaderElection.leaseDuration`` as ``leader-election-lease-duration``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", path.replace(".", "-")).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFilter:
    """Which namespaces are decided, evicted and patched; the same for controller and webhook."""

    selector: LabelSelector = setting(
        "namespaceSelector",
        SELECTOR,
        LabelSelector(),
        "Which namespaces are decided, evicted and patched, by their labels; empty: all.",
    )
    excluded: frozenset[str] = setting(
        "excludedNamespaces",
        Names("names of namespaces", _DNS_LABEL),
        frozenset(),
        "Namespaces never touched whatever their labels say, besides `kube-system` and our own.",
    )
    watched: frozenset[str] = setting(
        "watchNamespaces",
        Names("names of namespaces", _DNS_LABEL),
        frozenset(),
        "The only namespaces whose pods and workloads are read, one watch each, for rights in "
        "these alone; empty: the whole cluster. What else runs on a node is then unknown, so that "
        "room on spot is found out by sending one replica first.",
    )

    def watches(self, namespace: str) -> bool:
        """Whether pods and workloads of the namespace of this name are read at all."""
        return not self.watched or namespace in self.watched

    def admits(self, namespace: Namespace | None) -> bool:
        """Whether workloads of this namespace are ours to look at; an unknown one is not."""
        if namespace is None or namespace.name in self.excluded:
            return False
        if not self.watches(namespace.name):
            return False
        return self.selector.matches(namespace.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class APIRateLimiter:
    """How fast the operator may talk to the API server (a token bucket; leases go first)."""

    # controller-runtime's clients default to 20; ours are fewer and come in bursts.
    requests_per_second: float = setting(
        "api.requestsPerSecond",
        Number(0.1, 10_000),
        50.0,
        "Requests to the API server a second, in the long run.",
    )
    burst: int = setting(
        "api.burst", Whole(1, 10_000), 100, "Requests to the API server in a row without a wait."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElection:
    """The Lease and its times; defaults are those of client-go (15 s, 10 s, 2 s)."""

    enabled: bool = setting(
        "leaderElection.enabled",
        Truth(),
        True,
        "Compete for the Lease; off only for a single replica.",
        flag="leader-election",
    )
    name: str = setting(
        "leaderElection.leaseName",
        _DNS_NAME,
        "spotalis",
        "Name of the Lease; the operator's Role names it too.",
    )
    lease: timedelta = setting(
        "leaderElection.leaseDuration",
        Duration(_SECOND, whole_seconds=True),
        timedelta(seconds=15),
        "How long others wait for a leader that is silent.",
    )
    renew_deadline: timedelta = setting(
        "leaderElection.renewDeadline",
        Duration(_SECOND),
        timedelta(seconds=10),
        "How long a leader that cannot renew goes on; shorter than the lease.",
    )
    retry: timedelta = setting(
        "leaderElection.retryPeriod",
        Duration(timedelta(milliseconds=100)),
        timedelta(seconds=2),
        "Between two writes of the Lease; shorter than the renew deadline.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StormBreaker:
    """When lost spot nodes stop moves towards spot in the whole cluster (behaviour.md 6)."""

    percent: int = setting(
        "storm.percent",
        Whole(0, 100),
        30,
        "More than this share of the spot nodes, in percent, lost at a time is a storm.",
    )
    least: int = setting(
        "storm.least", Whole(1, 10000), 3, "Fewer spot nodes lost than these are no storm."
    )
    within: timedelta = setting(
        "storm.within",
        Duration(_SECOND),
        timedelta(minutes=5),
        "Spot nodes lost within this time count together.",
    )
    calm: timedelta = setting(
        "storm.calm",
        Duration(_SECOND),
        timedelta(minutes=10),
        "How long after the last loss no replica moves to spot.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfiguration:
    """What decides how workloads are treated."""

    namespace: str = setting(
        "namespace",
        _DNS_LABEL,
        "spotalis-system",
        "Where the operator lives: its Lease and Service; workloads there are never touched.",
    )
    identity: str = setting(
        "identity",
        _DNS_NAME,
        "",
        "This replica's name in the Lease; unique. Empty: made up at start.",
    )
    read_only: bool = setting("readOnly", Truth(), False, "Decide and report, move nothing.")
    resync: timedelta = setting(
        "resync",
        Duration(timedelta(seconds=5)),
        timedelta(seconds=30),
        "How often every workload is looked at although nothing changed.",
    )
    cooldown: timedelta = setting(
        "cooldown", Duration(timedelta(0)), timedelta(0), "Rest of a workload after a move."
    )
    moves_in_flight: int = setting(
        "movesInFlight", Whole(1, 1000), 20, "Replicas being moved at once in the whole cluster."
    )
    conditions: bool = setting(
        "status.conditions",
        Truth(),
        True,
        "Keep the condition `spotalis.io/Balanced` on Deployments.",
    )
    namespaces: NamespaceFilter = NamespaceFilter()
    defaults: Mapping[str, str] = policy_defaults()
    """Values for enabled workloads that do not say; key without prefix to text."""
    node_groups: tuple[ProviderGroup, ...] = setting(
        "nodeGroups",
        Items("node groups", NODE_GROUP),
        (),
        "Rules that say which node is which, asked before the built-in ones; a name alone is "
        "that built-in group.",
    )
    built_in_node_groups: bool = setting(
        "builtInNodeGroups", Truth(), True, "Ask the built-in node groups too."
    )
    spot_tolerations: tuple[Toleration, ...] = setting(
        "spotTolerations",
        Items("tolerations", TOLERATION),
        (),
        "Tolerations for pods placed on spot, besides those of the node groups.",
    )
    rate: APIRateLimiter = APIRateLimiter()
    leader_election: LeaderElection = LeaderElection()
    storm: StormBreaker = StormBreaker()
    evict_early: bool = setting(
        "interruption.evictEarly",
        Truth(),
        False,
        "Evict pods from a spot node as soon as its provider announces that it takes it.",
    )
    pdb_override: bool = setting(
        "pdbOverride",
        Truth(),
        False,
        "Delete a pod whose move a PodDisruptionBudget blocks, where its owner asks for it "
        "(`pdb-override`); takes the right to delete pods.",
    )
    classification: NodeClassification = field(init=False)
    """What the three settings about nodes come to."""

    def __post_init__(self) -> None:
        """Work out what follows from the settings."""
        # A frozen dataclass has no other way to fill in what it works out itself.
        ours = replace(
            self.namespaces,
            excluded=self.namespaces.excluded | {"kube-system", self.namespace},
        )
        object.__setattr__(self, "namespaces", ours)
        named = frozenset(group.name for group in self.node_groups)
        built_in = BUILT_IN_GROUPS if self.built_in_node_groups else ()
        classification = NodeClassification(
            groups=(*self.node_groups, *(g for g in built_in if g.name not in named)),
            named=named,
            extra_spot_tolerations=self.spot_tolerations,
        )
        object.__setattr__(self, "classification", classification)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOptions:
    """Where the process listens, and what the webhook is called."""

    host: str = setting(
        "serving.host",
        Text("an address or a host name", r"[0-9A-Za-z.:%_-]+"),
        "",
        "Address to listen on; empty: all.",
        flag="host",
    )
    webhook_port: int = setting(
        "serving.webhookPort",
        Whole(1, 65535),
        9443,
        "Port of the webhook (TLS).",
        flag="webhook-port",
    )
    metrics_port: int = setting(
        "serving.metricsPort", Whole(1, 65535), 8080, "Port of /metrics.", flag="metrics-port"
    )
    health_port: int = setting(
        "serving.healthPort",
        Whole(1, 65535),
        8081,
        "Port of /healthz and /readyz.",
        flag="health-port",
    )
    certificate_file: Path | None = setting(  # noqa: RUF009  # it declares a field
        "serving.certificateFile",
        File(),
        None,
        "The webhook's certificate (PEM), re-read when it changes. Empty: self-made, and "
        "`caBundle` is written.",
        flag="certificate-file",
    )
    key_file: Path | None = setting(  # noqa: RUF009  # it declares a field
        "serving.keyFile", File(), None, "The key of the certificate file.", flag="key-file"
    )
    ca_file: Path | None = setting(  # noqa: RUF009  # it declares a field
        "serving.caFile",
        File(),
        None,
        "Who vouches for the certificate files of all replicas; without it they forward no reviews "
        "to the leader. The names in them must include that of the Service.",
    )
    advertise_address: str = setting(
        "serving.advertiseAddress",
        Text("an address", r"[0-9A-Za-z.:]+"),
        "",
        "Where other replicas reach this one's webhook, without port: the pod's IP. Empty: "
        "`serving.host`, if that is one address; a leader without an address gets no reviews.",
    )
    client_ca_file: Path | None = setting(  # noqa: RUF009  # it declares a field
        "serving.clientCAFile",
        File(),
        None,
        "Who vouches for the API server's own certificate, if it shows one to webhooks.",
    )
    client_name: str = setting(
        "serving.clientName",
        Text("a common name", r"[0-9A-Za-z.:@_-]+"),
        "",
        "The common name in that certificate: who shows no such one may not ask.",
    )
    webhook_configuration: str = setting(
        "webhook.configurationName",
        _DNS_NAME,
        "spotalis",
        "The MutatingWebhookConfiguration to write `caBundle` into; the ClusterRole names it too.",
    )
    webhook_service: str = setting(
        "webhook.serviceName",
        _DNS_LABEL,
        "spotalis-webhook",
        "The Service in front of the webhook: a self-made certificate is for its name.",
    )
    certificate_secret: str = setting(
        "webhook.certificates.secretName",
        _DNS_NAME,
        "spotalis-webhook-tls",
        "The Secret with the self-made certificate that all replicas share; the manifests create "
        "it empty, and the Role names it too.",
    )
    certificate_life: timedelta = setting(
        "webhook.certificates.duration",
        Duration(timedelta(minutes=10)),  # several times Lifetimes.settling
        timedelta(days=90),
        "How long a self-made certificate is valid; renewed when two thirds of it are over.",
    )
    authority_life: timedelta = setting(
        "webhook.certificates.caDuration",
        Duration(timedelta(minutes=30)),
        timedelta(days=365),
        "The same for the authority that signs it.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What is logged, and how."""

    level: str = setting(
        "logging.level", _LEVEL, "info", "Least level that is logged.", flag="log-level", live=True
    )
    levels: Mapping[str, str] = setting(
        "logging.levels",
        Table(
            "loggers to levels",
            Text("the name of a logger", r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*"),
            _LEVEL,
        ),
        {},
        "Levels of single loggers, such as `spotalis.kube`, and of those below them.",
        flag="log-levels",
        live=True,
    )
    form: str = setting(
        "logging.format",
        Choice("json", "text"),
        "json",
        "How log lines are written to stderr.",
        flag="log-format",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that whoever runs Spotalis may set."""

    controller: ControllerConfiguration = field(default_factory=ControllerConfiguration)
    serving: ServingOptions = ServingOptions()
    logging: LogOptions = field(default_factory=LogOptions)


@cache
def declared() -> Mapping[str, Setting[Any]]:
    """Every setting by its path, in the order of their declaration."""
    return {one.path: one for one, _ in _walk(Settings)}


def settings_of(values: Mapping[str, Any]) -> Settings:
    """The settings with these values, by path; defaults for the rest."""
    return _made(Settings, values)


def _walk(cls: type) -> Iterator[tuple[Setting[Any], Field[Any]]]:
    for one in fields(cls):
        if _SETTING in one.metadata:
            yield from ((declaration, one) for declaration in one.metadata[_SETTING])
        elif (nested := _nested(one)) is not None:
            yield from _walk(nested)


def _nested(one: Field[Any]) -> type | None:
    """The dataclass that a field holds, told by its default."""
    default = one.default_factory if one.default is MISSING else type(one.default)
    return default if isinstance(default, type) and is_dataclass(default) else None


def _made(cls: Callable[..., T], values: Mapping[str, Any]) -> T:
    given: dict[str, Any] = {}
    for one in fields(cls):  # type: ignore[arg-type]  # a dataclass
        if (nested := _nested(one)) is not None:
            given[one.name] = _made(nested, values)
        for declaration in one.metadata.get(_SETTING, ()):
            if declaration.path not in values:
                continue
            value = values[declaration.path]
            if declaration.item:
                given.setdefault(one.name, {})[declaration.item] = value
            else:
                given[one.name] = value
    return cls(**given)


def contradictions(settings: Settings) -> list[tuple[str, str, str]]:
    """Settings of which each is fine, and that do not go together.

    Returns: the path of one, the path of the other, and the rest of a sentence about the one.
    """
    election, serving = settings.controller.leader_election, settings.serving
    defaults = settings.controller.defaults
    lease, renew, retry = (
        f"leaderElection.{name}" for name in ("leaseDuration", "renewDeadline", "retryPeriod")
    )
    certificate, key = "serving.certificateFile", "serving.keyFile"
    schedule, duration = "defaults.disruption-schedule", "defaults.disruption-duration"
    shorter = "must be shorter than `{}` ({}); it is {}".format
    long, middle, short = map(
        format_duration, (election.lease, election.renew_deadline, election.retry)
    )
    found: list[tuple[str, str, str]] = []
    if election.renew_deadline >= election.lease:
        found.append((renew, lease, shorter(lease, long, middle)))
    if election.retry >= election.renew_deadline:
        found.append((retry, renew, shorter(renew, middle, short)))
    if serving.authority_life < 2 * serving.certificate_life:
        ca, leaf = "webhook.certificates.caDuration", "webhook.certificates.duration"
        lives = map(format_duration, (serving.certificate_life, serving.authority_life))
        found.append((ca, leaf, "must be at least twice `{}` ({}); it is {}".format(leaf, *lives)))
    for one, has_one, other, has_other in (
        ("serving.clientCAFile", serving.client_ca_file, "serving.clientName", serving.client_name),
        (certificate, serving.certificate_file, key, serving.key_file),
        (schedule, "disruption-schedule" in defaults, duration, "disruption-duration" in defaults),
    ):
        if has_one and not has_other:
            found.append((one, other, f"needs `{other}` beside it"))
        if has_other and not has_one:
            found.append((other, one, f"needs `{one}` beside it"))
    taken: dict[int, str] = {}
    for name, port in (
        ("webhookPort", serving.webhook_port),
        ("metricsPort", serving.metrics_port),
        ("healthPort", serving.health_port),
    ):
        path = f"serving.{name}"
        if (first := taken.setdefault(port, path)) != path:
            found.append((path, first, f"must not be the port of `{first}`; both are {port}"))
    return found
