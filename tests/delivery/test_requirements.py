"""The pins: exact, hashed, from nowhere in particular, and no more than we know of.

What only an advisory service can tell is `make audit`, which no test waits for.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["build.txt", "dev.txt", "runtime.txt"]
_PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[0-9][0-9a-z.]*)(?P<marker> ; [^\\]+?)?"
    r"(?P<hashes>( \\\n    --hash=sha256:[0-9a-f]{64})+)"
)


def text(file: str) -> str:
    return (ROOT / "requirements" / file).read_text()


def pins(file: str) -> dict[str, str]:
    """Versions by name."""
    return {found["name"]: found["version"] for found in _PIN.finditer(text(file))}


def declared(requirements: list[str]) -> set[str]:
    """Names as pins have them."""
    names = (re.split(r"[<>=!~;\[ ]", one, maxsplit=1)[0] for one in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, object] = tomllib.load(file)["project"]
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_line_is_an_exact_version_with_hashes_and_names_no_place(file: str) -> None:
    """A URL, a path, an option such as an index, or a pin without a hash would be left over."""
    assert _PIN.sub("", text(file)).strip() == ""
    assert pins(file)


def test_all_the_files_are_checked() -> None:
    assert sorted(path.name for path in (ROOT / "requirements").glob("*.txt")) == FILES


def test_tests_run_with_what_the_container_runs_with() -> None:
    runtime, dev = pins("runtime.txt"), pins("dev.txt")
    assert runtime == {name: dev[name] for name in runtime}


def test_what_is_declared_is_pinned() -> None:
    dependencies = project()["dependencies"]
    assert isinstance(dependencies, list)
    assert declared(dependencies) <= pins("runtime.txt").keys()


def test_what_runs_in_the_container_is_listed_with_a_reason() -> None:
    rows = [line.split("|")[1] for line in text("README.md").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(listed) == sorted(pins("runtime.txt"))


def test_no_build_waits_for_an_advisory_service() -> None:
    """`make audit` asks somebody else's server: what it finds is no reason for a red build."""
    called = [path for path in (ROOT / ".ci").rglob("*") if path.is_file()]
    assert called
    assert not [path for path in called if "audit" in path.read_text()]
    makefile = (ROOT / "Makefile").read_text().splitlines()
    targets = [line for line in makefile if re.match(r"[a-z-]+:", line)]
    assert [line for line in targets if "audit" in line] == [
        line for line in targets if line.startswith("audit:")
    ]
