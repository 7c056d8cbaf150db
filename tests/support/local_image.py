"""Build the container image without a Docker engine, and run it as a kubelet would.

Debian's buildah interprets the Dockerfile, mmdebstrap makes a base image with Debian's Python 3.13
in place of python:3.13-slim, and runc runs the image.
"""

from __future__ import annotations

import json
import os  # builds need PATH
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.image import DOCKER

PROGRAMS = ("buildah", "mmdebstrap", "runc")
"""Packages of Debian and the programs in them."""
BASE = "localhost/base"
_SUITE = "trixie"
"""The first release of Debian with Python 3.13, like the image's own base."""
_PACKAGES = "python3.13-minimal,python3.13-venv,ca-certificates"
_TRUSTED = "/etc/ssl/certs"
"""The host's certificates: the build reaches the same package index as the host."""
_BUILD_MINUTES = 20

Json = dict[str, Any]


def skip_without_programs() -> None:
    """Skip the test on a machine that cannot build images."""
    missing = " ".join(name for name in PROGRAMS if shutil.which(name) is None)
    if missing:
        pytest.skip(f"building the image needs Debian's packages: apt-get install {missing}")
    if os.geteuid() != 0:
        pytest.skip("building the image with chroot isolation needs root")


class LocalImages:
    """A folder of images, the base image among them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make_base()

    def build(self, name: str, context: Path, *, epoch: int, version: str) -> str:
        """Build the Dockerfile in a folder with the sources; returns the image's ID.

        Nothing is taken from a cache.
        """
        return self._buildah(
            "build", "--quiet", "--no-cache", "--timestamp", str(epoch),
            "--build-arg", f"BASE={BASE}",
            "--build-arg", "PYTHON_DIGEST=",
            "--build-arg", f"SOURCE_DATE_EPOCH={epoch}",
            "--build-arg", f"VERSION={version}",
            "--volume", f"{_TRUSTED}:{_TRUSTED}:ro",
            "--ignorefile", str(DOCKER / "Dockerfile.dockerignore"),
            "--file", str(DOCKER / "Dockerfile"), "--tag", name, str(context),
        )  # fmt: skip

    def configuration(self, name: str) -> Json:
        """The image's configuration, as the OCI image specification defines it."""
        image: Json = json.loads(self._buildah("inspect", "--type", "image", name))["OCIv1"]
        return image

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """The root file system of an image during the block."""
        container = self._buildah("from", "--pull-never", name)
        try:
            yield Path(self._buildah("mount", container))
        finally:
            self._buildah("rm", container)

    def close(self) -> None:
        """Delete the images."""
        self._buildah("rmi", "--all", "--force")

    def _make_base(self) -> None:
        archive = self._folder / "base.tar"
        packages = f"--include={_PACKAGES}"
        _run("mmdebstrap", "--quiet", "--variant=minbase", packages, _SUITE, archive)
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(archive), "/")
        # The Dockerfile finds Python where python:3.13-slim has it.
        python = "/usr/local/bin/python3.13"
        self._buildah("run", container, "--", "ln", "-s", "/usr/bin/python3.13", python)
        self._buildah("commit", "--quiet", "--rm", container, BASE)
        archive.unlink()

    def _buildah(self, command: str, *words: str) -> str:
        folders = ("--root", self._folder / "storage", "--runroot", self._folder / "run")
        return _run("buildah", *folders, command, *words, isolation="chroot")


class Container:
    """Runs commands in an image with the restrictions of the manifests.

    The root file system is read-only, /tmp is in memory, the process has no capabilities and cannot
    gain privileges. It shares the host's network.
    """

    def __init__(self, root: Path, image: Json, folder: Path, *, readable: Path) -> None:
        """Prepares a container.

        Args:
            root: the image's file system.
            image: the image's configuration, which names user, environment and command.
            folder: for the container's own files.
            readable: a folder that the container can read at the same path.
        """
        self._root = root
        self._configuration = image["config"]
        self._folder = folder
        self._readable = readable

    def command_line(self, arguments: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """Write the container's configuration; returns the command that runs it to its end."""
        bundle = self._folder / "bundle"
        bundle.mkdir(exist_ok=True)
        specification = self._specification(arguments or self._configuration["Cmd"], variables)
        (bundle / "config.json").write_text(json.dumps(specification))
        state = str(self._folder / "state")
        return ["runc", "--root", state, "run", "--bundle", str(bundle), self._folder.name]

    def run(self, *arguments: str) -> str:
        """Run a command of Spotalis and return its output."""
        return _run(*self.command_line(arguments, {}))

    def _specification(self, arguments: Sequence[str], variables: Mapping[str, str]) -> Json:
        """The container, as the OCI runtime specification defines it."""
        uid, gid = map(int, self._configuration["User"].split(":"))
        sets = ("bounding", "effective", "inheritable", "permitted", "ambient")
        shared = {"type": "bind", "options": ["rbind", "ro"]}
        folder = str(self._readable)
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self._root), "readonly": True},
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [*self._configuration["Entrypoint"], *arguments],
                "env": self._configuration["Env"] + [f"{k}={v}" for k, v in variables.items()],
                "cwd": self._configuration["WorkingDir"],
                "capabilities": {kind: [] for kind in sets},
                "noNewPrivileges": True,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
                {"destination": folder, "source": folder, **shared},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc")]},
        }


def _run(*command: str | Path, isolation: str = "") -> str:
    """Run a command and return its output without the newline at the end."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME")}  # noqa: TID251  # programs need them
    done = subprocess.run(
        command, env=inherited | {"BUILDAH_ISOLATION": isolation},
        capture_output=True, text=True, check=False, timeout=60 * _BUILD_MINUTES,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()
