"""The operators that a benchmark runs: Spotalis, and another one that a file describes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from scripts.manifests import PERMISSION_FILES
from testbed import build
from tests.support.control_plane import CAPACITY_TYPE_LABEL, ControlPlane, ControlPlaneConfig
from tests.support.control_plane_processes import say_if_building
from tests.support.eventually import eventually
from tests.support.free_ports import claim_ports
from tests.support.tls_pairs import a_pair

ROOT = Path(__file__).parents[1]
NAMESPACE = "bench"
USER = "spotalis"
"""Each operator acts as this user, so that its requests are found in the audit log."""
PORTS_EACH = 3
"""Of a process: webhook, metrics, health."""


class NodeLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The node label by which an operator knows the capacity type."""

    key: str = CAPACITY_TYPE_LABEL
    spot: str = "spot"
    on_demand: str = "on-demand"


class Operator(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """An operator, how it is started, and how a workload opts in.

    In ``command`` and ``environment`` stand ``{kubeconfig}``, ``{certificates}`` (a folder with
    tls.crt, tls.key and ca.crt), ``{webhookPort}``, ``{metricsPort}`` and ``{healthPort}``; in
    ``workload_annotations`` stand ``{percent}`` and ``{minimum}``.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    ready_path: str = "/readyz"
    webhook_path: str = "/mutate"
    """Empty if the operator has no webhook."""
    writes_ca_bundle: bool = False
    """It creates its certificate and writes the CA into its webhook configuration."""
    node_label: NodeLabel = NodeLabel()
    namespace_labels: dict[str, str] = {}
    workload_labels: dict[str, str] = {}
    workload_annotations: dict[str, str] = {}

    def opt_in(self, percent: int, minimum: int) -> dict[str, Any]:
        """Labels and annotations of a workload."""
        values = {"percent": str(percent), "minimum": str(minimum)}
        annotations = {k: v.format(**values) for k, v in self.workload_annotations.items()}
        return {"labels": self.workload_labels, "annotations": annotations}


SPOTALIS = Operator(
    name="spotalis",
    command=(
        *(sys.executable, "-m", "spotalis", "controller", "--host", "127.0.0.1"),
        *("--kubeconfig", "{kubeconfig}", "--webhook-port", "{webhookPort}"),
        *("--metrics-port", "{metricsPort}", "--health-port", "{healthPort}"),
    ),
    writes_ca_bundle=True,
    workload_annotations={
        "spotalis.io/enabled": "true",
        "spotalis.io/spot-percentage": "{percent}",
        "spotalis.io/min-on-demand": "{minimum}",
    },
)


def read(path: Path) -> Operator:
    """Read the description of an operator.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML, or not the description of an operator; names the field.
    """
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), Operator)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from error


class Bench:
    """A control plane, and processes of an operator beside it."""

    def __init__(
        self, operator: Operator, control_plane: ControlPlane, folder: Path, ports: Sequence[int]
    ) -> None:
        self.operator = operator
        self.control_plane = control_plane
        self._folder = folder
        self._ports = ports
        self._authority = b""

    def ports(self, number: int = 0) -> tuple[int, int, int]:
        """Ports for webhook, metrics and health of a process."""
        webhook, metrics, health = self._ports[number * PORTS_EACH :][:PORTS_EACH]
        return webhook, metrics, health

    def prepare(self) -> None:
        """Create the namespace, and certificates for an operator that has none of its own."""
        labels = self.operator.namespace_labels
        objects: list[dict[str, Any]] = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": NAMESPACE, "labels": labels},
            }
        ]
        if self.operator is not SPOTALIS:
            objects.append(_administrator(self.control_plane.user_name(USER)))
            pair = a_pair()
            self._authority = pair.authority.cert_pem.bytes()
            for name, text in (
                ("tls.crt", pair.cert_pem),
                ("tls.key", pair.key_pem),
                ("ca.crt", self._authority),
            ):
                (self._folder / name).write_bytes(text)
        self.control_plane.apply(objects)

    def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> None:
        """Add nodes with the label that the operator reads. Their names begin with their type."""
        label = self.operator.node_label
        spot_labels, on_demand_labels = (
            {CAPACITY_TYPE_LABEL: "", label.key: value} for value in (label.spot, label.on_demand)
        )
        self.control_plane.add_nodes(spot=spot, labels=spot_labels)
        self.control_plane.add_nodes(on_demand=on_demand, labels=on_demand_labels)

    def register(self, number: int = 0) -> None:
        """Register the webhook of a process."""
        url = f"https://127.0.0.1:{self.ports(number)[0]}{self.operator.webhook_path}"
        if not self.operator.webhook_path:
            return
        if not self.operator.writes_ca_bundle:
            self.control_plane.register_webhook(url, self._authority, timeout_seconds=10)
            return
        configuration = yaml.safe_load((ROOT / "build" / "k8s" / "webhook.yaml").read_text())
        for entry in configuration["webhooks"]:
            entry["clientConfig"] = {"url": url}
        self.control_plane.apply([configuration])

    @contextmanager
    def running(self, number: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process of the operator, ready when the block begins."""
        webhook, metrics, health = self.ports(number)
        values = {
            "kubeconfig": str(self.control_plane.kubeconfig(USER)),
            "certificates": str(self._folder),
            "webhookPort": str(webhook),
            "metricsPort": str(metrics),
            "healthPort": str(health),
        }
        command = [word.format(**values) for word in self.operator.command]
        variables = {k: v.format(**values) for k, v in self.operator.environment.items()}
        log = self._folder / f"operator-{number}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                env=os.environ | variables,  # as from a shell
            )

        def is_ready() -> bool:
            code = process.poll()
            assert code is None, f"ended with {code}: {log.read_text(errors='replace')[-3000:]}"
            return _answers(f"http://127.0.0.1:{health}{self.operator.ready_path}")

        try:
            eventually(is_ready, within=60, what=f"{self.operator.name} is ready")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def named(operator: Operator, what: str) -> str:
    """The name of a figure of an operator."""
    return f"{operator.name}: {what}"


@contextmanager
def booted(
    operator: Operator, *, ready_after: float = 0.3, rbac: Sequence[Path] = ()
) -> Iterator[Bench]:
    """Boot a control plane for an operator.

    Args:
        operator: it is not started.
        ready_after: seconds that a pod needs to become Ready, and to end.
        rbac: more manifests with permissions.
    """
    binaries = build.obtain(report=say_if_building)
    config = ControlPlaneConfig(
        rbac=(*PERMISSION_FILES, *rbac), ready_after=ready_after, gone_after=ready_after
    )
    claim = claim_ports()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="spotalis-bench-") as name,
            ControlPlane.boot(Path(name, "control_plane"), config, binaries=binaries) as plane,
        ):
            bench = Bench(operator, plane, Path(name), claim.ports)
            bench.prepare()
            yield bench
    finally:
        claim.release()


def _administrator(user: str) -> dict[str, Any]:
    """All permissions for another operator, whose manifests are not known here."""
    namespace, name = user.split(":")[2:]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "baseline"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
    }


def _answers(url: str) -> bool:
    """Whether a server answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
