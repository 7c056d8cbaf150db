"""The options of a control plane, and the command lines of its processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from testbed import build

ProcessName = Literal["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]
"""The processes of a control plane, in the order in which they start."""

TESTBED = build.HERE

CONTROLLERS = (
    "*"  # without those that need a cloud, volumes, or a kubelet that sends heartbeats
    ",-node-ipam-controller"
    ",-service-lb-controller"
    ",-node-route-controller"
    ",-cloud-node-lifecycle-controller"
    ",-persistentvolume-binder-controller"
    ",-persistentvolume-attach-detach-controller"
    ",-persistentvolume-expander-controller"
    ",-ttl-controller"
)


@dataclass(frozen=True, kw_only=True)
class ControlPlaneConfig:
    """Options of a control plane.

    ready_after:  seconds from the binding of a pod until it is Running and Ready.
    gone_after:   seconds from the deletion of a bound pod until it is removed.
    rbac:         YAML files that grant permissions to the user "spotalis": service account
                  "spotalis" in `namespace`. testbed/kubernetes/rbac.yaml by default.
    namespace:    the operator's namespace, created at boot. One other than "spotalis-system" needs
                  its own rbac files.
    users:        more users for RBAC tests: groups by user name. They have no permissions.
    *_args:       more flags for a process, after its usual ones; the last of a single-valued flag
                  wins, for example ("--max-requests-inflight=5",).
    """

    ready_after: float = 0.3
    gone_after: float = 0.3
    rbac: Sequence[Path] = (TESTBED / "kubernetes" / "rbac.yaml",)
    namespace: str = "spotalis-system"
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    etcd_args: Sequence[str] = ()
    api_server_args: Sequence[str] = ()
    controller_manager_args: Sequence[str] = ()
    scheduler_args: Sequence[str] = ()
    kwok_args: Sequence[str] = ()

    def user_name(self, user: str) -> str:
        """Return the full name of a user in the API server; unknown names stay as they are."""
        if user == "spotalis":
            return f"system:serviceaccount:{self.namespace}:spotalis"
        return user

    def groups(self) -> dict[str, Sequence[str]]:
        """The groups of every user, by full user name."""
        namespace = self.namespace
        return {
            **self.users,
            "admin": ["system:masters"],
            "system:kube-controller-manager": ["system:masters"],
            "system:kube-scheduler": ["system:masters"],
            "kwok": ["system:masters"],
            "karpenter": ["system:masters"],
            "cert-manager": ["system:masters"],
            "argo-rollouts": ["system:masters"],
            "spotalis": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
        }


WITHOUT_PERMISSIONS = ControlPlaneConfig(rbac=(TESTBED / "kubernetes" / "namespace.yaml",))
"""The operator has its namespace and no permissions: the test applies the manifests."""


@dataclass(kw_only=True)
class CommandLines:
    """The flags of each process of a control plane on loopback."""

    folder: Path
    config: ControlPlaneConfig
    etcd_port: int
    peer_port: int
    secure_port: int
    api_server_args: Sequence[str]
    """More flags of the API server; a restart can replace them."""

    @property
    def server(self) -> str:
        """The address of the API server."""
        return f"https://127.0.0.1:{self.secure_port}"

    @property
    def ca_file(self) -> Path:
        """The CA file of the API server, PEM."""
        return self.folder / "certificates" / "apiserver.crt"

    def arguments(self, name: ProcessName) -> list[str]:
        """Return the flags of a process."""
        match name:
            case "etcd":
                return self._etcd()
            case "kube-apiserver":
                return self._kube_apiserver()
            case "kube-controller-manager":
                return self._kube_controller_manager()
            case "kube-scheduler":
                return self._kube_scheduler()
            case "kwok":
                return self._kwok()

    @property
    def _etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def _peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def _key(self) -> Path:
        return self.folder / "service-account.key"

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={self._peer_url}",
            f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=default={self._peer_url}",
            *self.config.etcd_args,
        ]

    def _kube_apiserver(self) -> list[str]:
        return [
            f"--etcd-servers={self._etcd_url}",
            f"--secure-port={self.secure_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--service-account-issuer={self.server}",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={TESTBED / 'kubernetes' / 'audit-policy.yaml'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
            "--audit-log-mode=blocking",
            # One file, without rotation (k8s.io/apiserver v0.36.1, pkg/server/options/audit.go).
            "--audit-log-maxsize=0",
            "--shutdown-watch-termination-grace-period=1s",  # or watches outlive it
            *self.api_server_args,
        ]

    def _kube_controller_manager(self) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'system:kube-controller-manager.kubeconfig'}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self._key}",
            f"--root-ca-file={self.ca_file}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            f"--controllers={CONTROLLERS}",
            "--node-monitor-grace-period=10h",  # the nodes of kwok send no heartbeats
            *self.config.controller_manager_args,
        ]

    def _kube_scheduler(self) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'system:kube-scheduler.kubeconfig'}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *self.config.scheduler_args,
        ]

    def _kwok(self) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'kwok.kubeconfig'}",
            "--manage-all-nodes",
            f"--config={self.folder / 'stages.yaml'}",
            "--cidr=10.128.0.1/9",
            "--node-ip=127.0.0.1",
            "--node-lease-duration-seconds=0",
            *self.config.kwok_args,
        ]
