"""Programs that run beside a control plane during a test, such as Karpenter and Prometheus."""
# ruff: noqa: TID251  # real processes live in real time

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from testbed.build import crds_file
from testbed.programs import ProgramSet
from tests.support.control_plane import ControlPlane, ControlPlaneError, binaries_or_skip
from tests.support.free_ports import claim_ports
from tests.support.process_groups import clean_environment, signal_group, start_guard

_READY_TIMEOUT = 60.0  # seconds; both programs take two or three on an idle machine
_POLL = 0.1  # seconds


@asynccontextmanager
async def running_beside(
    plane: ControlPlane,
    programs: ProgramSet,
    *,
    user: str,
    ready_path: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[str]:
    """Install the CRDs of a program and run it during the block, ready when the block begins.

    Yields the URL of its health port.

    The program ends (SIGKILL) with the block, and with the Python process however that ends. Its
    output is in ``logs/<name>.log`` of the control plane's folder.

    Args:
        user: a user of the control plane.
        ready_path: answers 200 on the health port.
        arguments, environment: ``{health}`` and ``{metrics}`` stand for ports.

    Raises:
        ControlPlaneError: the program is not ready within 60 s.
    """
    main = programs.binaries[0]
    binary = binaries_or_skip(programs)[main.name]
    if main.crds:
        # `apply` would add an annotation that is too long for the CRDs of Argo Rollouts.
        await asyncio.to_thread(plane.kubectl, "create", "-f", str(crds_file(binary)))
    claim, guard = claim_ports(), start_guard(plane.folder)
    ports = {"health": claim.ports[0], "metrics": claim.ports[1]}
    log_file = plane.folder / "logs" / f"{binary.name}.log"
    settings = {name: value.format(**ports) for name, value in (environment or {}).items()}
    # The guard recognizes its processes by the folder in their command line.
    link = plane.folder / binary.name
    link.symlink_to(binary)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [link, *(argument.format(**ports) for argument in arguments)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=plane.folder,
            env={**clean_environment(), "KUBECONFIG": str(plane.kubeconfig(user)), **settings},
            start_new_session=True,
        )
    assert guard.stdin is not None
    try:
        guard.stdin.write(f"{process.pid}\n".encode())
        guard.stdin.flush()
        url = f"http://127.0.0.1:{ports['health']}"
        await asyncio.to_thread(_wait_until_ready, process, url + ready_path, log_file)
        yield url
    finally:
        signal_group(process, signal.SIGKILL)
        process.wait()
        guard.stdin.write(b"done\n")
        guard.stdin.close()
        guard.wait()
        claim.release()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log_file: Path) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-12:])
            raise ControlPlaneError(f"{log_file.stem} is not ready ({process.poll()}):\n{tail}")
        time.sleep(_POLL)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
