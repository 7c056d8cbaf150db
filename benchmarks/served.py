"""An operator process that is measured from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.synthetic import PODS_EACH
from tests.support.eventually import eventually
from tests.support.free_ports import PortClaim, claim_ports
from tests.support.tls_pairs import a_pair

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class RunningOperator:
    """An operator beside a synthetic API server."""

    pid: int
    began: float
    """When it was started, by ``perf_counter``."""
    api_port: int
    webhook_port: int
    metrics_port: int
    health_port: int

    def age_seconds(self) -> float:
        """For how long it has run."""
        return time.perf_counter() - self.began


@contextmanager
def synthetic_server(
    workloads: int, nodes: int, replicas: int, pods_each: int
) -> Iterator[tuple[Path, PortClaim]]:
    """Start an API server that shows such a cluster (benchmarks/synthetic.py).

    Yields a folder with a kubeconfig, and ports, of which the server has the first.
    """
    claim = claim_ports()
    numbers = (claim.ports[0], workloads, nodes, replicas, pods_each)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="spotalis-bench-") as name,
            _run("benchmarks.synthetic", *map(str, numbers)),
        ):
            eventually(
                lambda: _answers(claim.ports[0], "/version"), within=30, what="the server answers"
            )
            _write_kubeconfig(Path(name, "kubeconfig"), claim.ports[0])
            yield Path(name), claim
    finally:
        claim.release()


@contextmanager
def running_operator(
    workloads: int, nodes: int, replicas: int = PODS_EACH
) -> Iterator[RunningOperator]:
    """Start an API server that shows such a cluster, and an operator."""
    with synthetic_server(workloads, nodes, replicas, PODS_EACH) as (folder, claim):
        api, webhook, metrics, health = claim.ports[:4]
        serving = {"webhookPort": webhook, "metricsPort": metrics, "healthPort": health}
        flags = _flags(folder, serving)
        began = time.perf_counter()
        with _run("spotalis", "controller", *flags) as process:
            yield RunningOperator(
                pid=process.pid,
                began=began,
                api_port=api,
                webhook_port=webhook,
                metrics_port=metrics,
                health_port=health,
            )


def wait_until_ready(operator: RunningOperator) -> None:
    """Wait until the operator is ready."""
    eventually(
        lambda: _answers(operator.health_port, "/readyz"),
        within=300,
        what="the operator is ready",
    )


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far, without its children."""
    # proc(5): the name of the program, in parentheses, may contain anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """The resident memory of a process: now, or at most so far (``VmHWM``)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def get(port: int, path: str) -> str:
    """The body of a response on loopback."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def _answers(port: int, path: str) -> bool:
    """Whether a server answers with success."""
    try:
        get(port, path)
    except OSError:
        return False
    return True


def _flags(folder: Path, serving: Mapping[str, Any]) -> list[str]:
    """Write the files of an operator that needs no leader election; return its flags."""
    pair = a_pair()
    files = {"certificateFile": folder / "tls.crt", "keyFile": folder / "tls.key"}
    files["certificateFile"].write_bytes(pair.cert_pem)
    files["keyFile"].write_bytes(pair.key_pem)
    paths = {key: str(file) for key, file in files.items()}
    settings = folder / "spotalis.yaml"  # JSON is YAML
    settings.write_text(json.dumps({"serving": {"host": "127.0.0.1", **serving, **paths}}))
    kubeconfig = folder / "kubeconfig"
    return ["--config", str(settings), "--kubeconfig", str(kubeconfig), "--no-leader-election"]


def _write_kubeconfig(file: Path, port: int) -> None:
    named = {"name": "synthetic"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{**named, "context": {"cluster": "synthetic", "user": "admin"}}],
        "users": [{"name": "admin", "user": {}}],
        "current-context": "synthetic",
    }
    file.write_text(json.dumps(document))


@contextmanager
def _run(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of this Python as a process."""
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        try:
            yield process
            assert process.poll() is None
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-5000:])
            raise
        finally:
            process.kill()
            process.wait()
