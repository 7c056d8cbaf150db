"""Renders the installation manifests in build/k8s from the Helm chart (`make manifests`).

Edit only the chart. Before, the generated files of the chart are written. Rendered are:

- one file for each template, which the other files and overlays can refer to;
- `install.yaml`: all objects of an installation;
- `install-cert-manager.yaml`: cert-manager issues the certificate, so the operator needs no
  permission for Secrets or webhook configurations;
- `install-namespaced.yaml`: permissions in one managed namespace instead of the whole cluster;
- `managed-namespace.yaml`: these permissions alone, for each further namespace.

Left out are the labels of a Helm release, and the checksum of the settings.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts import chart, policy_warnings
from spotalis.model.nodes import NodeType
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from testbed.build import obtain
from testbed.programs import HELM

K8S = Path(__file__).parents[1] / "build" / "k8s"
OPTIONAL = ("events", "conditions", "autoscaler-events", "volumes", "node-pools")
"""Permissions in `optional/` that every installation includes unless it leaves them out."""
PERMISSIONS = ("rbac", "admission-policy", *(f"optional/{name}" for name in OPTIONAL))
PERMISSION_FILES = tuple(K8S / f"{name}.yaml" for name in PERMISSIONS)
PARTS = ("namespace", *PERMISSIONS, "settings", "operator", "webhook")
"""In the order in which they can be applied."""
VARIANTS = ("cert-manager", "monitoring/alerts", "monitoring/dashboards", "optional/network-policy",
            "optional/pdb-override", "optional/policy-warnings", "optional/rescue",
            "optional/rollouts")  # fmt: skip
"""Templates that install.yaml does not contain."""
MANAGED = "shop"
"""The example of a managed namespace."""
RELEASE = ("template", "spotalis", str(chart.CHART), "--namespace", "spotalis-system",
           "--kube-version", "1.36.0")  # fmt: skip
"""Arguments of helm. Its own default for the version of Kubernetes is too old for the chart."""
_AS_MANIFESTS = ("createNamespace=true", "networkPolicy.enabled=false")

WITH_ALL_VALUES = chart.CHART / "ci" / "all-values.rendered.yaml"
"""The chart with ci/all-values.yaml, so that a review sees what a change of a template does."""

_MADE = "# Rendered by `make manifests` from charts/spotalis; do not edit.\n"
_INSTALL = f"""{_MADE}# Spotalis, which issues its own certificate.
"""
_CERT_MANAGER = f"""{_MADE}# Spotalis with cert-manager, which must be installed first.
# cert-manager issues the certificate and writes caBundle; the operator has no permission for
# Secrets or webhook configurations.
"""
_NAMESPACED = f"""{_MADE}# Spotalis with permissions only in the namespace `{MANAGED}`, which
# must exist. For other namespaces see docs/install/namespaced.md.
"""
_MANAGED = f"""{_MADE}# Permissions of Spotalis in one managed namespace:
# `kubectl -n NAMESPACE apply -f managed-namespace.yaml`. See docs/install/namespaced.md for the
# other steps.
"""
_RELEASE_LINES = re.compile(
    r"^ +(helm\.sh/chart|app\.kubernetes\.io/(instance|managed-by)): .*\n"
    r"|^ +annotations:\n +checksum/settings: .*\n",
    re.MULTILINE,
)

Json = dict[str, Any]


def never_on_spot() -> list[Json]:
    """Requirements on node labels that exclude the spot nodes of every built-in group."""
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


def rendered(helm: Path) -> Mapping[str, str]:
    """The manifests, by path in build/k8s."""
    plain = _templates(helm)
    optional = _templates(
        helm, "networkPolicy.enabled=true", "settings.pdbOverride=true",
        "policyWarnings.enabled=true", "rescue.enabled=true", "permissions.rollouts=true",
        "certificates.source=cert-manager", "monitoring.prometheusRule.enabled=true",
        "monitoring.dashboards.enabled=true",
    )  # fmt: skip
    issued = _templates(helm, "certificates.source=cert-manager")
    namespaced = _templates(helm, f"settings.watchNamespaces={{{MANAGED}}}")
    cert_manager_parts = [*PARTS[:-1], "cert-manager", PARTS[-1]]
    return {
        **{f"{part}.yaml": _MADE + plain[part] for part in PARTS},
        **{f"{part}.yaml": _MADE + optional[part] for part in VARIANTS},
        "install.yaml": _INSTALL + _joined(plain, PARTS),
        "install-cert-manager.yaml": _CERT_MANAGER + _joined(issued, cert_manager_parts),
        "install-namespaced.yaml": _NAMESPACED + _joined(namespaced, PARTS),
        "managed-namespace.yaml": _MANAGED + _of_managed_namespace(_joined(namespaced, PARTS)),
    }


def _templates(helm: Path, *values: str) -> dict[str, str]:
    """The output of each template, by its path without the suffix."""
    flags = [word for value in (*_AS_MANIFESTS, *values) for word in ("--set", value)]
    output = _helm(helm, *flags)
    found: dict[str, list[str]] = {}
    for document in _RELEASE_LINES.sub("", output).split("---\n# Source: spotalis/templates/")[1:]:
        name, text = document.split(".yaml\n", 1)
        found.setdefault(name, []).append(text.strip() + "\n")
    return {name: "---\n".join(documents) for name, documents in found.items()}


def with_all_values(helm: Path) -> str:
    """The text of `WITH_ALL_VALUES`, without the dashboards: each is one line of 20 kB."""
    text = _helm(helm, "--values", str(chart.CHART / "ci" / "all-values.yaml"))
    return re.sub(r"(\.json): .*", r"\1: ...", text)


def _helm(helm: Path, *flags: str) -> str:
    command = [str(helm), *RELEASE, *flags]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603  # fixed words


def _joined(templates: Mapping[str, str], names: Sequence[str]) -> str:
    return "---\n".join(templates[name] for name in names if name in templates)


def _of_managed_namespace(text: str) -> str:
    """The objects in `MANAGED`, without their namespace."""
    line = f"  namespace: {MANAGED}\n"
    documents = [each for each in text.split("---\n") if f"\n{line}" in each]
    return "---\n".join(each.replace(line, "", 1) for each in documents)


def main() -> None:
    """Write the generated files of the chart and the manifests."""
    policy_warnings.main()
    chart.main()
    helm = obtain(HELM)["helm"]
    for name, text in rendered(helm).items():
        (K8S / name).write_text(text, "utf-8")
    WITH_ALL_VALUES.write_text(with_all_values(helm), "utf-8")


if __name__ == "__main__":
    main()
