"""What the image is made of: its steps run in a plain folder, and its recipe keeps its promises.

There is no Docker engine here; the Dockerfile is read, and build/docker/install.sh is run.
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
    """Of the image's version where it is installed; else the one that runs the tests."""
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


def test_the_steps_of_the_image_give_a_program_that_runs_and_twice_the_same(
    tmp_path: Path, python: str
) -> None:
    folder = tmp_path / "spotalis"
    install(python, folder)
    said = subprocess.run(
        [folder / "bin" / "python", "-m", "spotalis", "version"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={},
    ).stdout  # fmt: skip
    assert said.startswith(f"spotalis {__version__} ")
    first = digests(folder)
    assert not any("/pip/" in name or "/hatchling/" in name for name in first)
    shutil.rmtree(folder)
    install(python, folder)
    second = digests(folder)
    assert {name for name in first.keys() | second if first.get(name) != second.get(name)} == set()


def test_every_stage_is_one_and_the_same_base_by_a_digest_without_default() -> None:
    bases = {rest.partition(" AS ")[0] for rest in given("FROM")}
    assert bases == {"python:3.13-slim@${PYTHON_DIGEST}"}
    assert DOCKERFILE[0] == ("ARG", "PYTHON_DIGEST")


def test_the_image_runs_as_a_number_that_is_not_root_s() -> None:
    assert given("USER") == ["65532:65532"]
    last_from = max(i for i, (word, _) in enumerate(DOCKERFILE) if word == "FROM")
    assert DOCKERFILE.index(("USER", "65532:65532")) > last_from


def test_nothing_is_fetched_but_by_the_hashes_of_requirements() -> None:
    assert given("ADD") == []
    [run] = given("RUN")
    assert run.startswith("sh build/docker/install.sh ")
    pip = [line for line in (DOCKER / "install.sh").read_text().splitlines() if "$pip" in line]
    fetching = [line for line in pip if "--no-index" not in line and " wheel " not in line]
    assert len(fetching) == 2
    assert all("--require-hashes --only-binary :all:" in line for line in fetching)
    [wheel] = [line for line in pip if " wheel " in line]
    assert "--no-deps --no-build-isolation" in wheel


def test_everything_that_is_copied_is_sent_to_the_builder() -> None:
    sent = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in sent if line.startswith("!")}
    copied = {
        source for rest in given("COPY") if "--from=" not in rest for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_bake_file_asks_for_both_platforms_and_for_attestations() -> None:
    bake = (DOCKER / "docker-bake.hcl").read_text()
    assert 'platforms  = ["linux/amd64", "linux/arm64"]' in bake
    assert 'attest = ["type=provenance,mode=max", "type=sbom"]' in bake
    assert re.search(r'variable "VERSION" \{\n  default = "(.*)"', bake)[1] == __version__  # type: ignore[index]
    taken = {rest.partition("=")[0] for rest in given("ARG")}
    [arguments] = re.findall(r"args = \{\n(.*?)\n  \}", bake, flags=re.DOTALL)
    assert {line.split()[0] for line in arguments.splitlines()} == taken


def test_the_pins_of_the_build_are_those_of_development() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.split()[0] for line in lines if not line.startswith(" ")}

    assert pins("build.txt") <= pins("dev.txt")
    assert pins("runtime.txt") <= pins("dev.txt")
