"""Without extras, `pip install spotalis` installs the command line: small, and complete."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from spotalis.cli.main import COMMANDS, OPERATOR_PACKAGES

ROOT = Path(__file__).parents[2]
LIMIT_BYTES = 20_000_000
BLOCK_BYTES = 4096
WITHOUT_EXTRA = f"""\
import sys
for name in {OPERATOR_PACKAGES!r}:
    sys.modules[name] = None  # as if it were not installed
from spotalis.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def declared(name: str) -> set[str]:
    """The packages that a package needs without extras on this platform."""
    requirements = distribution(name).requires or []
    if name == "spotalis":
        with (ROOT / "pyproject.toml").open("rb") as file:
            requirements = tomllib.load(file)["project"]["dependencies"]
    needed = [each for each in requirements if ";" not in each]
    return {re.split(r"[<>=!~\[ (]", each, maxsplit=1)[0].lower() for each in needed}


def installed() -> set[str]:
    """Every package that `pip install spotalis` installs, but Spotalis."""
    found: set[str] = set()
    new = declared("spotalis")
    while new:
        found |= new
        new = set().union(*map(declared, new)) - found
    return found


def blocks(paths: list[Path]) -> int:
    """The bytes that files occupy, in whole blocks."""
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes)


def test_the_command_line_occupies_at_most_20_mb() -> None:
    packages = installed()
    assert packages == {"cronsim", "msgspec", "pyyaml", "tzdata", "urllib3"}
    size = blocks(list((ROOT / "src" / "spotalis").rglob("*")))
    for name in packages:
        size += blocks([Path(str(file.locate())) for file in distribution(name).files or ()])
    assert size < LIMIT_BYTES


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_but_controller_and_demo_needs_the_packages_of_the_operator(
    command: str, tmp_path: Path
) -> None:
    words = {
        "set": ["deploy/web", "spot-percentage=70"],
        "pause": ["--all"],
        "resume": ["--all"],
        "explain": ["deploy/web"],
        "validate": [str(tmp_path)],
        "completion": ["bash"],
        "config": ["--show"],
    }.get(command, [])
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{current-context: c, contexts: [{name: c, context: {cluster: c}}], "
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, "spotalis", command, *words],
        env={"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    if command in ("controller", "demo"):
        assert done.stderr.startswith(f"error[SP045]: spotalis {command} needs the package ")
    elif command in ("validate", "completion", "config", "key", "version"):
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.stderr.startswith("error[SP002]: http://127.0.0.1:1 did not answer\n")
        assert "Connection refused" in done.stderr
