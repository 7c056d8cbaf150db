"""Puts the parts of build/k8s together: one file for each way to install (`make manifests`).

The parts are what people edit, and what tests and benchmarks apply by themselves. What is made
from them: the operator's aversion to spot nodes, from the built-in node groups; `install.yaml`,
all parts with their comments; `install-cert-manager.yaml`, where cert-manager makes the
certificate, so that the operator needs no right to any Secret or webhook configuration;
`install-namespaced.yaml`, with rights in one namespace that stands for those to be managed, and
`managed-namespace.yaml`, these rights alone, for any further one.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from spotalis.model.nodes import BUILT_IN_GROUPS, NodeType

K8S = Path(__file__).parents[1] / "build" / "k8s"
PARTS = ("namespace", "rbac", "settings", "operator", "webhook")
"""In the order in which they can be applied."""
TLS_FOLDER = "/etc/spotalis-tls"

_MADE = "# Made by `make manifests` from the other files of this folder; do not edit.\n"
_INSTALL = f"""{_MADE}# Spotalis, with a certificate of its own making.
"""
_CERT_MANAGER = f"""{_MADE}# Spotalis with cert-manager, which must be there before. It makes
# the certificate and writes caBundle: the operator may touch neither Secrets nor webhooks.
"""

MANAGED = "shop"
"""The namespace that stands for those of a reader."""
CLUSTER_WIDE = {"nodes", "namespaces", "persistentvolumes", "mutatingwebhookconfigurations"}
"""What has no namespace; rights to all else can be given namespace by namespace."""

_NAMESPACED = f"""{_MADE}# Spotalis with rights in the namespace `{MANAGED}` alone, which must
# be there before. For others than this one: docs/install/namespaced.md.
"""
_MANAGED = f"""{_MADE}# What Spotalis may do in a namespace that it manages:
# `kubectl -n NAMESPACE apply -f managed-namespace.yaml`. The rest of what is to be done for it:
# docs/install/namespaced.md.
"""

Json = dict[str, Any]


def never_on_spot() -> list[Json]:
    """What a node's labels must not say, so that no built-in group takes it for spot."""
    wrong: dict[str, list[str]] = {}
    for group in BUILT_IN_GROUPS:
        for rule in group.rules:
            if rule.node_type is NodeType.SPOT:
                values = wrong.setdefault(rule.requirement.key, [])
                values += [v for v in rule.requirement.values if v not in values]
    return [
        {"key": key, "operator": "NotIn", "values": values}
        if values
        else {"key": key, "operator": "DoesNotExist"}
        for key, values in wrong.items()
    ]


def rendered() -> Mapping[str, str]:
    """The made files, by name."""
    texts = [(K8S / f"{part}.yaml").read_text() for part in PARTS]
    objects = [one for text in texts for one in yaml.safe_load_all(text)]
    issued = list(yaml.safe_load_all((K8S / "cert-manager.yaml").read_text()))
    return {
        "install.yaml": _INSTALL + "---\n".join(texts),
        "install-cert-manager.yaml": _CERT_MANAGER
        + _dump(_with_cert_manager(deepcopy(objects), issued)),
        "install-namespaced.yaml": _NAMESPACED + _dump(_namespaced(deepcopy(objects))),
        "managed-namespace.yaml": _MANAGED + _dump(_rights_in_a_namespace(objects)),
    }


def _with_cert_manager(objects: list[Json], issued: list[Json]) -> list[Json]:
    """The same installation, with a certificate that somebody else looks after."""
    kept: list[Json] = []
    for one in objects:
        if one["kind"] == "Secret":
            continue
        if one["kind"] in ("ClusterRole", "Role"):
            handed_over = {"secrets", "mutatingwebhookconfigurations"}
            one["rules"] = [r for r in one["rules"] if handed_over.isdisjoint(r["resources"])]
        elif one["kind"] == "ConfigMap":
            kept += issued
            one["data"]["spotalis.yaml"] += (
                "serving:\n"
                f"  certificateFile: {TLS_FOLDER}/tls.crt\n"
                f"  keyFile: {TLS_FOLDER}/tls.key\n"
                f"  caFile: {TLS_FOLDER}/ca.crt\n"
            )
        elif one["kind"] == "Deployment":
            pod = one["spec"]["template"]["spec"]
            mount = {"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True}
            pod["containers"][0]["volumeMounts"].append(mount)
            secret = {"secretName": "spotalis-webhook-tls", "defaultMode": 0o440}
            pod["volumes"].append({"name": "tls", "secret": secret})
        elif one["kind"] == "MutatingWebhookConfiguration":
            inject = {"cert-manager.io/inject-ca-from": "spotalis-system/spotalis-webhook"}
            one["metadata"]["annotations"] = inject
        kept.append(one)
    return kept


def _namespaced(objects: list[Json]) -> list[Json]:
    """The same installation for `MANAGED` alone: its pods are read, moved and sent for review."""
    rights = _rights_in_a_namespace(objects, MANAGED)
    for one in objects:
        if one["kind"] == "ClusterRole":
            one["rules"] = [r for r in one["rules"] if CLUSTER_WIDE.issuperset(r["resources"])]
        elif one["kind"] == "ConfigMap":
            one["data"]["spotalis.yaml"] += f"watchNamespaces: [{MANAGED}]\n"
        elif one["kind"] == "MutatingWebhookConfiguration":
            name = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [MANAGED]}
            one["webhooks"][0]["namespaceSelector"] = {"matchExpressions": [name]}
    return [*objects, *rights]


def _rights_in_a_namespace(objects: list[Json], namespace: str = "") -> list[Json]:
    """What the ClusterRole grants besides `CLUSTER_WIDE`, as a Role and its binding."""
    [role] = [one for one in objects if one["kind"] == "ClusterRole"]
    [binding] = [one for one in objects if one["kind"] == "ClusterRoleBinding"]
    metadata = {"name": "spotalis-managed", "labels": role["metadata"]["labels"]}
    if namespace:
        metadata["namespace"] = namespace
    return [
        {
            **role,
            "kind": "Role",
            "metadata": metadata,
            "rules": [r for r in role["rules"] if CLUSTER_WIDE.isdisjoint(r["resources"])],
        },
        {
            **binding,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": binding["roleRef"] | {"kind": "Role", "name": "spotalis-managed"},
        },
    ]


def _dump(objects: list[Json]) -> str:
    return "---\n".join(
        yaml.dump(one, Dumper=_Plain, sort_keys=False, width=110, default_flow_style=False)
        for one in objects
    )


class _Plain(yaml.SafeDumper):
    """For people: what stands in two places is written twice, and a file as its lines."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors."""
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A text of several lines as such."""
        return self.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else ""
        )


_Plain.add_representer(str, _Plain.represent_text)


if __name__ == "__main__":
    for name, text in rendered().items():
        (K8S / name).write_text(text)
