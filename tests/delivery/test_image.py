"""The installation of the image in a plain folder, and the Dockerfile's instructions.

test_built_image.py builds the image.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spotalis import __version__
from tests.support.image import DOCKER, DOCKERFILE, given

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python() -> str:
    """Python 3.13 as in the image if installed, otherwise the Python that runs the tests."""
    newer = subprocess.run(
        ["sh", ROOT / "scripts" / "find_python.sh", "3.13"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return newer or sys.executable


def install(python: str, folder: Path) -> None:
    environment = {
        key: value
        for key, value in os.environ.items()  # noqa: TID251  # pip needs PATH, HOME and its index
        if key != "PYTHONPATH"
    }
    subprocess.run(
        ["sh", "build/docker/install.sh", python, folder],
        cwd=ROOT, env=environment | {"SOURCE_DATE_EPOCH": "1700000000"}, check=True, timeout=1500,
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_install_sh_installs_a_working_operator_reproducibly(tmp_path: Path, python: str) -> None:
    folder = tmp_path / "spotalis"
    install(python, folder)
    version = subprocess.run(
        [folder / "bin" / "python", "-m", "spotalis", "version"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={},
    ).stdout  # fmt: skip
    assert version.startswith(f"spotalis {__version__} ")
    first = digests(folder)
    assert not any("/pip/" in name or "/hatchling/" in name for name in first)
    shutil.rmtree(folder)
    install(python, folder)
    second = digests(folder)
    assert {name for name in first.keys() | second if first.get(name) != second.get(name)} == set()


def test_all_stages_use_the_same_base_by_a_digest_without_default() -> None:
    bases = {rest.partition(" AS ")[0] for rest in given("FROM")}
    assert bases == {"${BASE}"}
    assert DOCKERFILE[:2] == [
        ("ARG", "PYTHON_DIGEST"),
        ("ARG", "BASE=python:3.13-slim@${PYTHON_DIGEST}"),
    ]


def test_no_syntax_line_fetches_another_frontend() -> None:
    first = (DOCKER / "Dockerfile").read_text().partition("\n")[0]
    assert not first.replace(" ", "").startswith("#syntax=")


def test_the_sbom_scanner_is_given_by_a_digest_without_default() -> None:
    bake = (DOCKER / "docker-bake.hcl").read_text()
    scanner = "generator=docker/buildkit-syft-scanner@${SBOM_SCANNER_DIGEST}"
    assert f'"type=sbom,{scanner}"' in bake
    for name in ("PYTHON_DIGEST", "SBOM_SCANNER_DIGEST"):
        assert re.search(rf'variable "{name}" \{{\n\}}', bake)


PINNED = ["PYTHON_DIGEST", "SBOM_SCANNER_DIGEST", "BUILDKIT_DIGEST"]


def run_pins(command: str, pins: Path, *, path: Path | None = None) -> tuple[int, str]:
    """Run pins.sh with another pins.env; returns its exit status and what it prints."""
    environment = {"PINS": str(pins), "PATH": f"{path or ''}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", DOCKER / "pins.sh", command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def fake_docker(folder: Path, answer: str) -> Path:
    """A folder with a command `docker` that prints the answer."""
    folder.mkdir()
    command = folder / "docker"
    command.write_text(f"#!/bin/sh\n{answer}\n")
    command.chmod(0o755)
    return folder


def test_the_repository_has_a_line_for_every_digest() -> None:
    lines = (DOCKER / "pins.env").read_text().splitlines()
    assert [line.partition("=")[0] for line in lines if not line.startswith("#")] == PINNED


@pytest.mark.parametrize("value", ["", "latest", "sha256:12", "sha256:" + "g" * 64])
def test_a_build_without_digests_fails_and_names_the_fix(tmp_path: Path, value: str) -> None:
    pins = tmp_path / "pins.env"
    pins.write_text("".join(f"{name}={value}\n" for name in PINNED))
    status, printed = run_pins("check", pins)
    assert status == 1
    assert [name for name in PINNED if f"{name} is not a digest of" in printed] == PINNED
    assert "Run `make image-pins`" in printed


def test_renewed_digests_are_accepted_by_the_shell_and_by_the_check(tmp_path: Path) -> None:
    pins, digest = tmp_path / "pins.env", "sha256:" + "0a" * 32
    pins.write_text("PYTHON_DIGEST=\n")
    assert run_pins("renew", pins, path=fake_docker(tmp_path / "bin", f"echo {digest}"))[0] == 0
    assert run_pins("check", pins) == (0, "")
    shown = subprocess.run(
        ["sh", "-c", f". {pins}; echo $PYTHON_DIGEST $SBOM_SCANNER_DIGEST $BUILDKIT_DIGEST"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.split() == [digest] * 3


@pytest.mark.parametrize("answer", ["exit 1", "echo unauthorized"])
def test_digests_stay_as_they_are_if_a_registry_does_not_answer(
    tmp_path: Path, answer: str
) -> None:
    pins = tmp_path / "pins.env"
    pins.write_text("before")
    status, _ = run_pins("renew", pins, path=fake_docker(tmp_path / "bin", answer))
    assert status != 0
    assert pins.read_text() == "before"


def test_the_image_runs_as_a_numeric_user_other_than_root() -> None:
    assert given("USER") == ["65532:65532"]
    last_from = max(i for i, (word, _) in enumerate(DOCKERFILE) if word == "FROM")
    assert DOCKERFILE.index(("USER", "65532:65532")) > last_from


def test_packages_are_installed_only_by_the_hashes_in_requirements() -> None:
    assert given("ADD") == []
    first, *others = given("RUN")
    assert first.startswith("sh build/docker/install.sh ")
    assert [run.split()[0] for run in others] == ["find"]
    pip = [line for line in (DOCKER / "install.sh").read_text().splitlines() if "$pip" in line]
    fetching = [line for line in pip if "--no-index" not in line and " wheel " not in line]
    assert len(fetching) == 2
    assert all("--require-hashes --only-binary :all:" in line for line in fetching)
    [wheel] = [line for line in pip if " wheel " in line]
    assert "--no-deps --no-build-isolation" in wheel


def test_dockerignore_allows_exactly_the_files_that_the_dockerfile_copies() -> None:
    sent = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in sent if line.startswith("!")}
    copied = {
        source for rest in given("COPY") if "--from=" not in rest for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_bake_file_sets_all_build_arguments_and_the_current_version() -> None:
    bake = (DOCKER / "docker-bake.hcl").read_text()
    assert re.search(r'variable "VERSION" \{\n  default = "(.*)"', bake)[1] == __version__  # type: ignore[index]
    taken = {rest.partition("=")[0] for rest in given("ARG")} - {"BASE"}
    [arguments] = re.findall(r"args = \{\n(.*?)\n  \}", bake, flags=re.DOTALL)
    assert {line.split()[0] for line in arguments.splitlines()} == taken


def test_the_image_uses_the_same_pins_as_development() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.split()[0] for line in lines if not line.startswith(" ")}

    assert pins("build.txt") <= pins("dev.txt")
    assert pins("runtime.txt") <= pins("dev.txt")
