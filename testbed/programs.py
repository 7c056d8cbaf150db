"""The programs of the real test bed, and the Go modules from which they are built."""

from __future__ import annotations

import os
from dataclasses import dataclass

Version = tuple[int, int, int]

KUBERNETES: Version = (1, 36, 1)
"""The pinned Kubernetes version, as in kubernetes/go.mod. The binaries report it."""
CONTROL_PLANES: dict[str, tuple[str, Version]] = {
    "1.36": ("kubernetes", KUBERNETES),
    "1.32": ("kubernetes-1.32", (1, 32, 13)),
}
"""By minor version: the folder of the Go module of the servers, and the version in its go.mod."""
VERSION_VARIABLE = "TESTBED_KUBERNETES"
"""The environment variable that selects one of them, for example "1.32"."""


@dataclass(frozen=True)
class Binary:
    """A program of the test bed: its name, the folder of its Go module, its Go package.

    crds: the Go module that contains the program's CRDs, and patterns of their files.
    tags: build tags, separated by commas.
    kubernetes: the version of Kubernetes that the binary reports.
    """

    name: str
    module: str
    package: str
    crds: tuple[str, ...] = ()
    tags: str = ""
    kubernetes: Version = KUBERNETES


@dataclass(frozen=True)
class ProgramSet:
    """Programs that are needed together and share a cache folder. Optional ones may be missing."""

    name: str
    binaries: tuple[Binary, ...]
    is_optional: bool = True

    @property
    def modules(self) -> list[str]:
        """The folders of the Go modules."""
        return sorted({binary.module for binary in self.binaries})


_COMMANDS = "k8s.io/kubernetes/cmd"
_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def control_plane(minor: str) -> ProgramSet:
    """The control plane of a minor version, for example "1.32".

    etcd, kwok and kubectl are the same for all versions.

    Raises:
        ValueError: the version is not in CONTROL_PLANES.
    """
    if minor not in CONTROL_PLANES:
        known = " or ".join(CONTROL_PLANES)
        raise ValueError(f"{VERSION_VARIABLE}={minor} is not supported; set it to {known}")
    module, version = CONTROL_PLANES[minor]
    servers = (Binary(name, module, f"{_COMMANDS}/{name}", kubernetes=version) for name in _SERVERS)
    return ProgramSet(
        "control-plane",
        (
            Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
            Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
            *servers,
            Binary("kubectl", "kubernetes", f"{_COMMANDS}/kubectl"),
        ),
        is_optional=False,
    )


CONTROL_PLANE = control_plane(os.environ.get(VERSION_VARIABLE) or "1.36")
"""The control plane of the tests."""
KARPENTER = ProgramSet(
    "karpenter",
    (
        Binary(
            "karpenter",
            "karpenter",
            "sigs.k8s.io/karpenter/kwok",
            ("sigs.k8s.io/karpenter", "pkg/apis/crds/*.yaml", "kwok/apis/crds/*.yaml"),
        ),
    ),
)
"""Karpenter with its kwok provider: only the machines are simulated."""
ROLLOUTS = ProgramSet(
    "rollouts",
    (
        Binary(
            "rollouts-controller",
            "rollouts",
            "github.com/argoproj/argo-rollouts/cmd/rollouts-controller",
            ("github.com/argoproj/argo-rollouts", "manifests/crds/*-crd.yaml"),
        ),
    ),
)
"""The controller of Argo Rollouts."""
_WITHOUT_CLOUDS = "remove_all_sd"
"""Without the clients of cloud providers, which would be most of Prometheus."""
PROMETHEUS = ProgramSet(
    "prometheus",
    tuple(
        Binary(
            name,
            "prometheus",
            f"github.com/prometheus/prometheus/cmd/{name}",
            tags=_WITHOUT_CLOUDS,
        )
        for name in ("prometheus", "promtool")
    ),
)
"""Prometheus, which evaluates the alerts, and promtool, which tests them."""
CERT_MANAGER = ProgramSet(
    "cert-manager",
    (
        Binary(
            "cert-manager",
            "cert-manager",
            "spotalis.io/testbed/cert-manager",
            ("github.com/cert-manager/cert-manager", "deploy/crds/cert-manager.io_*.yaml"),
        ),
    ),
)
"""cert-manager's controllers for certificates, and its CA injector."""
ACTIONLINT = ProgramSet(
    "actionlint",
    (Binary("actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),),
)
"""Checks the workflows in .github/workflows."""
HELM = ProgramSet("helm", (Binary("helm", "helm", "helm.sh/helm/v3/cmd/helm"),))
"""Renders and installs the chart in charts/spotalis."""
PROGRAM_SETS = (CONTROL_PLANE, KARPENTER, ROLLOUTS, HELM, PROMETHEUS, CERT_MANAGER, ACTIONLINT)
"""All programs of the test bed, in build order."""
