"""The real Helm against a control plane."""

from __future__ import annotations

import os  # a process needs PATH
import subprocess
from pathlib import Path

from scripts.chart import CHART
from testbed.programs import HELM
from tests.support.control_plane import ControlPlane, binaries_or_skip

MINUTES_FOR_A_COMMAND = 10


class Helm:
    """Runs ``helm COMMAND`` for the release ``spotalis`` in ``spotalis-system``."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._program = binaries_or_skip(HELM)["helm"]
        self._environment = {
            "PATH": os.environ["PATH"],  # noqa: TID251  # a process needs it
            "KUBECONFIG": str(plane.kubeconfig("admin")),
            "HOME": str(folder),
        }

    def __call__(self, *words: str) -> str:
        """Run a command and return its output."""
        done = subprocess.run(
            [self._program, *words, "--namespace", "spotalis-system"],
            env=self._environment, capture_output=True, text=True, check=False,
            timeout=60 * MINUTES_FOR_A_COMMAND,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, *flags: str) -> str:
        """Install the chart and wait until its pods are ready."""
        return self("install", "spotalis", str(CHART), "--wait", *flags)

    def upgrade(self, *flags: str) -> str:
        """Upgrade the release and wait until its pods are ready."""
        return self("upgrade", "spotalis", str(CHART), "--wait", *flags)
