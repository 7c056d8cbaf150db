"""The files of a control plane: credentials, kubeconfigs and the stages of kwok."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.control_plane_config import TESTBED, ControlPlaneConfig
from tests.support.control_plane_errors import ControlPlaneError


def prepare_folder(
    folder: Path,
    config: ControlPlaneConfig,
    groups: Mapping[str, Sequence[str]],
    tokens: Mapping[str, str],
) -> None:
    """Remove the data of an earlier control plane, and write what the processes read.

    Raises:
        ControlPlaneError: stages.yaml does not have the expected marks.
    """
    for part in ("etcd", "certificates", "logs"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    (folder / "audit.log").write_bytes(b"")
    lines = [
        f'{token},{config.user_name(name)},{name},"{",".join(groups[name])}"\n'
        for name, token in tokens.items()
    ]
    write_secret(folder / "tokens.csv", "".join(lines))
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,  # the format in which it reads EC keys
        serialization.NoEncryption(),
    )
    write_secret(folder / "service-account.key", key.decode())
    stages = (TESTBED / "kwok" / "stages.yaml").read_text()
    for name, seconds in (
        ("ready-after", config.ready_after),
        ("gone-after", config.gone_after),
    ):
        stages, count = re.subn(
            rf"durationMilliseconds: \d+ # {name}$",
            f"durationMilliseconds: {round(seconds * 1000)}",
            stages,
            flags=re.MULTILINE,
        )
        if count != 1:
            raise ControlPlaneError(f"stages.yaml marks {name} {count} times instead of once")
    (folder / "stages.yaml").write_text(stages)


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text)


def write_kubeconfigs(folder: Path, server: str, ca_file: Path, tokens: Mapping[str, str]) -> None:
    """Write a kubeconfig for each user."""
    authority = base64.b64encode(ca_file.read_bytes()).decode()
    for name, token in tokens.items():
        cluster = {"server": server, "certificate-authority-data": authority}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "control_plane", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [
                {"name": "control_plane", "context": {"cluster": "control_plane", "user": name}}
            ],
            "current-context": "control_plane",
        }
        write_secret(folder / f"{name}.kubeconfig", json.dumps(kubeconfig, indent=1))
