"""Each contract of ``lint-imports`` detects a planted violation."""

from __future__ import annotations

import os  # the environment of a child
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        pytest.param(
            "model/environment.py",
            "from spotalis.controller import cluster",
            "layers BROKEN",
            id="a value type that imports the controller",
        ),
        pytest.param(
            "kube/lines.py",
            "from spotalis.planner import plan",
            "layers BROKEN",
            id="siblings",
        ),
        pytest.param(
            "planner/plan.py",
            "import time",
            "the model and the planner are pure BROKEN",
            id="a planner that reads the clock",
        ),
        pytest.param(
            "controller/queue.py",
            "import aiohttp",
            "only kube, webhook and web import aiohttp BROKEN",
            id="a controller that imports aiohttp",
        ),
        pytest.param(
            "cli/setting_flags.py",
            "from spotalis.embedded import cluster",
            "the command `controller` starts without the simulator BROKEN",
            id="an operator that imports the simulator",
        ),
        pytest.param(
            "nowhere/__init__.py",
            "",
            "marked as 'exhaustive'",
            id="a package without a layer",
        ),
    ],
)
def test_a_planted_violation_breaks_its_contract(
    tmp_path: Path, path: str, line: str, broken: str
) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "src" / "spotalis" / path
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a") as file:
        file.write(f"\n{line}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}  # noqa: TID251
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run(
        [program, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 1, found.stdout
    assert broken in found.stdout + found.stderr
