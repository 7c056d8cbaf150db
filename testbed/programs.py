"""The programs of the real test bed, and the Go modules from which they are built."""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES = (1, 36, 1)
"""The pinned Kubernetes version, as in kubernetes/go.mod. The binaries report it."""


@dataclass(frozen=True)
class Binary:
    """A program of the test bed: its name, the folder of its Go module, its Go package.

    crds: the Go module that contains the program's CRDs, and patterns of their files.
    tags: build tags, separated by commas.
    """

    name: str
    module: str
    package: str
    crds: tuple[str, ...] = ()
    tags: str = ""


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
CONTROL_PLANE = ProgramSet(
    "control-plane",
    (
        Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Binary("kube-apiserver", "kubernetes", f"{_COMMANDS}/kube-apiserver"),
        Binary("kube-controller-manager", "kubernetes", f"{_COMMANDS}/kube-controller-manager"),
        Binary("kube-scheduler", "kubernetes", f"{_COMMANDS}/kube-scheduler"),
        Binary("kubectl", "kubernetes", f"{_COMMANDS}/kubectl"),
    ),
    is_optional=False,
)
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
HELM = ProgramSet("helm", (Binary("helm", "helm", "helm.sh/helm/v3/cmd/helm"),))
"""Renders and installs the chart in charts/spotalis."""
PROGRAM_SETS = (CONTROL_PLANE, KARPENTER, ROLLOUTS, HELM, PROMETHEUS)
"""All programs of the test bed, in build order."""
