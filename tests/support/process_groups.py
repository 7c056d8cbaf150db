"""Process groups that end with the process that started them."""
# ruff: noqa: TID251  # real processes inherit the environment

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

# Ends the processes of the control plane if the process that booted it ends without stopping it
# (because it was killed, for example). Reads one PID per line; "done" ends the guard. The end of
# its input means that the parent process is gone.
_GUARD = """
import os, shutil, signal, sys
pids = []
for line in sys.stdin:
    if line.strip() == "done":
        sys.exit(0)
    pids.append(int(line))
for pid in pids:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            if sys.argv[1] in file.read():
                os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
shutil.rmtree(os.path.join(sys.argv[1], "etcd"), ignore_errors=True)
"""


def start_guard(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that ends all processes whose PIDs are written to it.

    Only processes whose command line contains ``folder`` are ended.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and its children, unless it was already waited for."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def clean_environment() -> dict[str, str]:
    """The environment without proxies and without the kubeconfig of another cluster."""
    unwanted = {"KUBECONFIG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    return {name: value for name, value in os.environ.items() if name.upper() not in unwanted}
