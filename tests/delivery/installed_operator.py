"""Runs the operator as a process, configured as in the manifests on an API server."""

from __future__ import annotations

import base64
import json
import os  # a process needs PATH
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.control_plane import (
    CAPACITY_TYPE_LABEL,
    ControlPlane,
    eventually,
)
from tests.support.free_ports import claim_ports

OPERATOR_NAMESPACE = "spotalis-system"
DEADLINE = 120.0
CommandLine = Callable[[Sequence[str], Mapping[str, str]], list[str]]
"""Returns the command that runs Spotalis with these arguments and environment variables."""
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/spotalis"


def in_this_python(arguments: Sequence[str], _variables: Mapping[str, str]) -> list[str]:
    """Run Spotalis by the Python that runs the tests. The process has the variables already."""
    return [sys.executable, "-m", "spotalis", *arguments]


@contextmanager
def installed_operator(
    control_plane: ControlPlane,
    folder: Path,
    *,
    bundle: bytes = b"",
    command_line: CommandLine = in_this_python,
) -> Iterator[None]:
    """An operator process with the arguments, settings, variables and token of the container.

    Args:
        bundle: CA bundle for the webhook configuration; without it the operator writes its own.
            With it, ``folder`` replaces the volume that contains the certificate.
        command_line: how the operator is started, for example in its image.
    """
    ports = claim_ports()
    webhook, metrics, health = ports.ports[:3]
    client = {"url": f"https://127.0.0.1:{webhook}/mutate"}
    if bundle:
        client["caBundle"] = base64.b64encode(bundle).decode()
    set_client = [{"op": "replace", "path": "/webhooks/0/clientConfig", "value": client}]
    control_plane.request(
        "PATCH", CONFIGURATION, set_client, content_type="application/json-patch+json"
    )
    arguments, variables = _arguments_and_variables(control_plane, folder)
    arguments += ["--webhook-port", str(webhook), "--metrics-port", str(metrics)]
    arguments += ["--health-port", str(health)]
    command = command_line(arguments, variables)
    log = folder / "operator.log"
    inherited = {key: value for key, value in os.environ.items() if key == "PATH"}  # noqa: TID251  # a process needs it
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=inherited | variables)
    try:
        eventually(
            lambda: process.poll() is not None or _answers(f"http://127.0.0.1:{health}/readyz"),
            within=DEADLINE,
            what=f"the operator is ready (log: {log})",
        )
        assert process.poll() is None, log.read_text()
        eventually(
            lambda: control_plane.request("GET", CONFIGURATION)["webhooks"][0]["clientConfig"].get(
                "caBundle"
            ),
            within=DEADLINE,
            what="caBundle is set",
        )
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ports.release()
    assert process.returncode == 0, log.read_text()[-2000:]


def wait_for_split(
    plane: ControlPlane, workload: str, *, on_demand: int = 0, spot: int = 0
) -> None:
    """Wait until a workload in the namespace default has exactly these Ready pods."""

    def is_split() -> bool:
        nodes = plane.request("GET", "/api/v1/nodes")["items"]
        types = {n["metadata"]["name"]: n["metadata"]["labels"][CAPACITY_TYPE_LABEL] for n in nodes}
        pods = plane.ready_pods("default", f"app={workload}")
        found = Counter(types[pod["spec"]["nodeName"]] for pod in pods)
        return found == Counter({"on-demand": on_demand, "spot": spot})

    eventually(is_split, within=DEADLINE, what=f"{workload} is {on_demand} + {spot}")


def _arguments_and_variables(
    control_plane: ControlPlane, folder: Path
) -> tuple[list[str], dict[str, str]]:
    """The arguments and variables of the container in the manifests, with its settings file."""
    deployment = control_plane.request(
        "GET", f"/apis/apps/v1/namespaces/{OPERATOR_NAMESPACE}/deployments/spotalis"
    )
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    settings = control_plane.request(
        "GET", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps/spotalis-settings"
    )
    file = folder / "spotalis.yaml"
    file.write_text(settings["data"]["spotalis.yaml"].replace("/etc/spotalis-tls", str(folder)))
    downward = {"metadata.namespace": OPERATOR_NAMESPACE, "status.podIP": "127.0.0.1"}
    variables = {
        each["name"]: downward[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container["env"]
    }
    arguments = list(container["args"])
    arguments[arguments.index("/etc/spotalis/spotalis.yaml")] = str(file)
    arguments += [
        "--kubeconfig",
        str(_service_account_kubeconfig(control_plane, folder)),
        "--host",
        "127.0.0.1",
    ]
    return arguments, variables


def _service_account_kubeconfig(control_plane: ControlPlane, folder: Path) -> Path:
    """A kubeconfig with a token that the API server issues for the service account, as for pods."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/spotalis/token"
    config = json.loads(control_plane.kubeconfig("spotalis").read_text())
    config["users"][0]["user"]["token"] = control_plane.request("POST", path, request)["status"][
        "token"
    ]
    file = folder / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
