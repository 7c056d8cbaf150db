"""The pinned requirements are exact and hashed, name no index, and match what is declared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["build.txt", "dev.txt", "runtime.txt", "tools.txt"]
_PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>([0-9]+!)?[0-9][0-9a-z.]*)(?P<marker> ; [^\\]+?)?"
    r"(?P<hashes>( \\\n    --hash=sha256:[0-9a-f]{64})+)"
)


def text(file: str) -> str:
    return (ROOT / "requirements" / file).read_text()


def pins(file: str) -> dict[str, str]:
    """Pinned versions by package."""
    return {found["name"]: found["version"] for found in _PIN.finditer(text(file))}


def normalized_names(requirements: list[str]) -> set[str]:
    """Names of packages, in the spelling of the pins."""
    names = (re.split(r"[<>=!~;\[ ]", each, maxsplit=1)[0] for each in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def project_table() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, object] = tomllib.load(file)["project"]
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_is_an_exact_version_with_hashes(file: str) -> None:
    """URLs, paths, options such as an index, and pins without a hash are remainders."""
    assert _PIN.sub("", text(file)).strip() == ""
    assert pins(file)


def test_these_tests_cover_all_files() -> None:
    assert sorted(path.name for path in (ROOT / "requirements").glob("*.txt")) == FILES


@pytest.mark.parametrize("file", ["Makefile", "build/docker/install.sh"])
def test_every_installation_requires_hashes_or_installs_the_project_alone(file: str) -> None:
    lines = (ROOT / file).read_text().replace("\\\n", " ").splitlines()
    installations = [line for line in lines if "pip install" in line and "#" not in line]
    assert installations
    assert [
        each for each in installations if not re.search("--(require-hashes|no-deps)", each)
    ] == []


def test_the_tests_use_the_same_versions_as_the_image() -> None:
    runtime, dev = pins("runtime.txt"), pins("dev.txt")
    assert runtime == {name: dev[name] for name in runtime}


def test_every_declared_dependency_is_pinned() -> None:
    project = project_table()
    dependencies, extras = project["dependencies"], project["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(extras, dict)
    assert normalized_names(dependencies + extras["controller"]) <= pins("runtime.txt").keys()
    assert normalized_names(extras["dev"]) <= pins("dev.txt").keys()


def test_requirements_readme_lists_exactly_the_packages_of_the_image() -> None:
    rows = [line.split("|")[1] for line in text("README.md").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(listed) == sorted(pins("runtime.txt"))
