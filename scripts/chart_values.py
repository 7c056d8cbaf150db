"""The values of the Helm chart: name, default, JSON Schema and meaning (`make manifests`).

scripts/chart.py writes values.yaml, values.schema.json and README.md of the chart from them.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from spotalis.cli.config import settings_schema

Json = dict[str, Any]

BOOLEAN: Json = {"type": "boolean"}
TEXT: Json = {"type": "string"}
NAME: Json = {"type": "string", "minLength": 1, "maxLength": 63}
OPTIONAL_NAME: Json = {"type": "string", "maxLength": 253}
PORT: Json = {"type": "integer", "minimum": 1, "maximum": 65535}
TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
"""A map with values of text, such as labels."""
OBJECT: Json = {"type": "object"}
"""A part of a Kubernetes object; the API server checks it."""
OBJECTS: Json = {"type": "array", "items": OBJECT}
COUNT_OR_PERCENTAGE: Json = {
    "oneOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^[0-9]{1,3}%$"},
    ]
}
DURATION: Json = {"type": "string", "pattern": "^([0-9]+(ms|[smhdw]))+$"}
FIXED_SETTINGS = (
    "namespace",
    "identity",
    "leaderElection.enabled",
    "leaderElection.leaseName",
    "serving.host",
    "serving.certificateFile",
    "serving.keyFile",
    "serving.caFile",
    "serving.advertiseAddress",
    "webhook.configurationName",
    "webhook.serviceName",
    "webhook.certificates.secretName",
)
"""Settings that the chart determines: names of its objects, and what belongs to one pod."""


@dataclass(frozen=True)
class Value:
    """One value of the chart.

    key: its path in values.yaml, with dots.
    """

    key: str
    default: Any
    schema: Json
    help: str


def _settings() -> Json:
    """The schema of the settings file without what the chart determines."""
    schema = deepcopy(settings_schema())
    del schema["$schema"], schema["description"]
    for key in FIXED_SETTINGS:
        *sections, name = key.split(".")
        at = schema
        for section in sections:
            at = at["properties"][section]
        del at["properties"][name]
    _without_lookahead(schema)
    return schema


def _without_lookahead(schema: Json) -> None:
    """Helm's regular expressions have no lookahead: "not empty" becomes ``minLength``."""
    pattern = schema.get("pattern", "")
    if isinstance(pattern, str) and "(?=.)" in pattern:
        schema |= {"pattern": pattern.replace("(?=.)", ""), "minLength": 1}
    for part in list(schema.values()):
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict):
                _without_lookahead(each)


VALUES = (
    Value("image.repository", "spotalis", NAME | {"maxLength": 255}, "Repository of the image."),
    Value("image.tag", "", OPTIONAL_NAME, "Tag of the image. If empty, the version of the chart."),
    Value(
        "image.digest",
        "",
        {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        "Digest of the image. If set, it is used instead of the tag.",
    ),
    Value(
        "image.pullPolicy",
        "IfNotPresent",
        {"enum": ["Always", "IfNotPresent", "Never"]},
        "When the image is pulled.",
    ),
    Value("imagePullSecrets", [], OBJECTS, "Secrets for the registry: `- name: NAME`."),
    Value(
        "replicas",
        2,
        {"type": "integer", "minimum": 1, "maximum": 10},
        "Number of instances. All serve the webhook; the leader also moves pods.",
    ),
    Value(
        "settings",
        {
            "readOnly": False,
            "maxMovesInFlight": 20,
            "namespaceSelector": {},
            "defaults": {},
            "logging": {"level": "info", "format": "json"},
        },
        _settings(),
        "Settings of the operator, as in docs/reference/configuration.md. A change restarts its"
        " pods one after another. `watchNamespaces` also limits the permissions to these"
        " namespaces; `pdbOverride` also grants to delete pods.",
    ),
    Value(
        "certificates.source",
        "self",
        {"enum": ["self", "cert-manager", "secret"]},
        "Where the webhook's certificate comes from: the operator itself, cert-manager, or a"
        " Secret of yours.",
    ),
    Value(
        "certificates.secretName",
        "",
        OPTIONAL_NAME,
        "Secret with `tls.crt`, `tls.key` and `ca.crt`. Required with the source `secret`.",
    ),
    Value(
        "certificates.caBundle",
        "",
        {"type": "string", "pattern": "^[A-Za-z0-9+/=]*$"},
        "CA of that Secret (PEM in base64). Required with the source `secret`.",
    ),
    Value(
        "certificates.issuerRef",
        {},
        OBJECT,
        "Issuer of cert-manager. If empty, the chart creates one with a CA of its own.",
    ),
    Value("permissions.events", True, BOOLEAN, "Record Events about workloads."),
    Value("permissions.conditions", True, BOOLEAN, "Write the condition `spotalis.io/Balanced`."),
    Value(
        "permissions.autoscalerEvents",
        True,
        BOOLEAN,
        "Read Events of autoscalers before a replica falls back to on-demand.",
    ),
    Value("permissions.volumes", True, BOOLEAN, "Read claims and volumes of pods that may move."),
    Value("permissions.nodePools", True, BOOLEAN, "List the NodePools of Karpenter."),
    Value("permissions.rollouts", False, BOOLEAN, "Read the Rollouts of Argo Rollouts."),
    Value(
        "policyWarnings.enabled",
        False,
        BOOLEAN,
        "Check labels and annotations of Spotalis when workloads are applied.",
    ),
    Value(
        "policyWarnings.action",
        "Warn",
        {"enum": ["Warn", "Deny", "Audit"]},
        "What happens with wrong ones.",
    ),
    Value(
        "rescue.enabled",
        False,
        BOOLEAN,
        "CronJob that frees pods that wait for spot while all instances are gone.",
    ),
    Value(
        "networkPolicy.enabled", True, BOOLEAN, "Restrict traffic to and from the operator's pods."
    ),
    Value(
        "networkPolicy.apiServerPorts",
        [443, 6443],
        {"type": "array", "items": PORT, "minItems": 1},
        "Ports of the API server.",
    ),
    Value("networkPolicy.metricsNamespace", "monitoring", NAME, "Namespace that may read metrics."),
    Value("monitoring.interval", "30s", DURATION, "Interval at which metrics are read."),
    Value(
        "monitoring.serviceMonitor.enabled",
        False,
        BOOLEAN,
        "ServiceMonitor of Prometheus Operator. Not together with the PodMonitor.",
    ),
    Value("monitoring.serviceMonitor.labels", {}, TEXTS, "More labels of the ServiceMonitor."),
    Value("monitoring.podMonitor.enabled", False, BOOLEAN, "PodMonitor of Prometheus Operator."),
    Value("monitoring.podMonitor.labels", {}, TEXTS, "More labels of the PodMonitor."),
    Value("monitoring.prometheusRule.enabled", False, BOOLEAN, "Alerts for Prometheus Operator."),
    Value("monitoring.prometheusRule.labels", {}, TEXTS, "More labels of the PrometheusRule."),
    Value(
        "monitoring.prometheusRule.runbookUrl",
        "",
        TEXT,
        "Address of the folder docs/alerts, without a slash at the end. The alerts refer to it.",
    ),
    Value(
        "monitoring.dashboards.enabled", False, BOOLEAN, "Dashboards for Grafana, as ConfigMaps."
    ),
    Value(
        "monitoring.dashboards.labels",
        {"grafana_dashboard": "1"},
        TEXTS,
        "Labels by which the sidecar of Grafana finds the ConfigMaps.",
    ),
    Value(
        "monitoring.dashboards.annotations",
        {},
        TEXTS,
        "Annotations of the ConfigMaps, such as the folder.",
    ),
    Value(
        "priorityClassName",
        "system-cluster-critical",
        OPTIONAL_NAME,
        "Priority class of the pods. For a class of the system, the chart adds the ResourceQuota"
        " that GKE asks for.",
    ),
    Value("podDisruptionBudget.enabled", True, BOOLEAN, "Protect the pods from drains."),
    Value(
        "podDisruptionBudget.maxUnavailable", 1, COUNT_OR_PERCENTAGE, "Pods that may be missing."
    ),
    Value(
        "resources",
        {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        OBJECT,
        "Requests and limits of the container.",
    ),
    Value("nodeSelector", {"kubernetes.io/os": "linux"}, TEXTS, "Labels of the nodes."),
    Value("tolerations", [], OBJECTS, "Tolerations of the pods."),
    Value("affinity", {}, OBJECT, "If empty: not on spot nodes, and on different nodes."),
    Value("topologySpreadConstraints", [], OBJECTS, "If empty: spread over zones."),
    Value(
        "hostNetwork",
        False,
        BOOLEAN,
        "Use the network of the node, for EKS with an overlay network. The namespace must then"
        " allow it.",
    ),
    Value("env", {}, TEXTS, "More environment variables, such as HTTPS_PROXY."),
    Value("serviceAccount.annotations", {}, TEXTS, "Annotations of the ServiceAccount."),
    Value("podLabels", {}, TEXTS, "More labels of the pods."),
    Value("podAnnotations", {}, TEXTS, "More annotations of the pods."),
    Value("commonLabels", {}, TEXTS, "More labels of all objects."),
    Value(
        "createNamespace",
        False,
        BOOLEAN,
        "Create the namespace with the labels of Pod Security. Only where the chart is rendered"
        " and applied, not for `helm install`, which has `--create-namespace`.",
    ),
    Value("extraObjects", [], OBJECTS, "More objects of the release, rendered as templates."),
)

CONTRADICTIONS: list[Json] = [
    {
        "description": "certificates.source `secret` needs secretName and caBundle",
        "if": {
            "required": ["certificates"],
            "properties": {
                "certificates": {
                    "required": ["source"],
                    "properties": {"source": {"const": "secret"}},
                }
            },
        },
        "then": {
            "properties": {
                "certificates": {
                    "properties": {"secretName": {"minLength": 1}, "caBundle": {"minLength": 1}}
                }
            }
        },
    },
    {
        "description": "a ServiceMonitor and a PodMonitor would read all metrics twice",
        "if": {
            "properties": {
                "monitoring": {
                    "properties": {"serviceMonitor": {"properties": {"enabled": {"const": True}}}}
                }
            }
        },
        "then": {
            "properties": {
                "monitoring": {
                    "properties": {"podMonitor": {"properties": {"enabled": {"const": False}}}}
                }
            }
        },
    },
]
