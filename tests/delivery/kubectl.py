"""The real kubectl with the plugin on its PATH."""

from __future__ import annotations

import json
import os  # a process needs PATH
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.control_plane import ControlPlane, binaries_or_skip

DEADLINE = 180.0


class Kubectl:
    """The real kubectl with the plugin on its PATH."""

    def __init__(self, plane: ControlPlane, *programs: Path) -> None:
        """With other ``programs`` on the PATH of :meth:`shell`."""
        binaries = binaries_or_skip()
        folders = [
            Path(sys.executable).parent,
            Path(binaries["kubectl"]).parent,
            *(program.parent for program in programs),
            Path("/usr/bin:/bin"),
        ]
        self._environment = {
            "PATH": os.pathsep.join(map(str, folders)),  # only these programs
            "KUBECONFIG": str(plane.kubeconfig("admin")),
            "HOME": "/nonexistent",
        }

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``kubectl spotalis WORDS``."""
        return subprocess.run(
            ["kubectl", "spotalis", *words],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def shell(
        self, command: str, *, folder: Path, minutes: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line in a folder, as a reader of the documentation types it."""
        return subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=self.environment(folder),
            capture_output=True,
            text=True,
            timeout=60 * minutes,
            check=False,
        )

    def environment(self, home: Path) -> dict[str, str]:
        """The variables of a shell."""
        return {**self._environment, "PYTHONUTF8": "1", "HOME": str(home)}

    def apply(self, manifest: str) -> subprocess.CompletedProcess[str]:
        """Run ``kubectl apply`` without the plugin."""
        return subprocess.run(
            ["kubectl", "apply", "-f", "-"],
            env=self._environment,
            input=manifest,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def items(self, *words: str) -> list[dict[str, Any]]:
        """The items of a command with ``-o json``."""
        done = self(*words, "-o", "json")
        assert done.returncode in (0, 3), done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found
