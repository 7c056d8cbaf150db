"""``python -m tests.mutants [NAME ...]``: plant each bug, run its tests, say which killed it.

Everything happens in a copy of the tree. First the tests run without any bug: one that fails
anyway kills nothing. The exit status is 1 if a bug survives, or a mutant does not fit any more.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.table import MUTANTS, SOURCE, Mutant, StaleMutantError

COPIED = ("src", "tests", "build", "testbed", "benchmarks", "docs", "pyproject.toml", "README.md")
LONGEST_SECONDS = 120
"""A bug that keeps its tests from ending is found."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+(?: \S+)*?)(?: - .*)?$", re.MULTILINE)


def main() -> int:
    """Plant them all, or those whose names hold one of the words given."""
    arguments = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    arguments.add_argument("words", nargs="*", metavar="NAME", help="only these, by part of name")
    words = arguments.parse_args().words
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="spotalis-mutants-") as place:
        tree = Path(place)
        _copy(tree)
        return _plant_all(tree, chosen)


def _plant_all(tree: Path, chosen: list[Mutant]) -> int:
    tests = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
    failed = _run(tree, tests, at_most=LONGEST_SECONDS * len(tests))
    if failed:
        print(f"without any bug this fails already: {failed}")
        return 1
    survivors = 0
    for mutant in chosen:
        began = time.monotonic()  # noqa: TID251  # a program of its own
        try:
            found = _plant(tree, mutant)
        except StaleMutantError as stale:
            found = f"STALE     {mutant.name}: {stale}"
        seconds = time.monotonic() - began  # noqa: TID251
        survivors += not found.startswith("killed")
        print(f"{seconds:6.1f} s  {found}", flush=True)
    print(f"{len(chosen)} bugs, {len(chosen) - survivors} killed")
    return min(1, survivors)


def _plant(tree: Path, mutant: Mutant) -> str:
    """What became of it."""
    before = {edit.file: (tree / SOURCE / edit.file).read_text() for edit in mutant.edits}
    try:
        for edit in mutant.edits:
            path = tree / SOURCE / edit.file
            path.write_text(edit.applied(path.read_text()))
        failed = _run(tree, mutant.tests)
    finally:
        for file, text in before.items():
            (tree / SOURCE / file).write_text(text)
    return f"killed    {mutant.name}  <-  {failed}" if failed else f"SURVIVED  {mutant.name}"


def _run(tree: Path, tests: Iterable[str], *, at_most: int = LONGEST_SECONDS) -> str:
    """The first test that fails; empty if all pass.

    Raises:
        RuntimeError: pytest could not run them, which says nothing about the bug.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not real", *tests]
    inherited = os.environ  # noqa: TID251  # a program of its own
    environment = {**inherited, "PYTHONPATH": f"{tree / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=at_most,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {at_most} s"
    if done.returncode == 0:
        return ""
    found = _FAILED.search(done.stdout)
    if done.returncode != 1 or found is None:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return found[1]


def _copy(tree: Path) -> None:
    for name in COPIED:
        source = Path(name)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(source, tree / name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, tree / name)


if __name__ == "__main__":
    sys.exit(main())
