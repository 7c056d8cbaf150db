"""Plant known bugs (mutants) one by one in a copy of the tree; the named tests must find each.

    python -m tests.mutants                    run all mutants (make mutants)
    python -m tests.mutants ledger webhook     run the mutants whose name or file contains a word
    python -m tests.mutants --list [WORD ...]  list mutants with their files and tests
    python -m tests.mutants --check [WORD ...] only check that the rows fit the code (one second)

To add a mutant, append a row to the table in tests/mutants of its subject or, if a scenario must
find the bug, to `scenario_table.py`. A row consists of:

1. a name: a sentence that states the bug, such as "a pod with two budgets is evicted";
2. the file, relative to src/spotalis;
3. the text to replace, which must occur exactly once in the file, and its replacement. For several
   edits use `Mutant` and `Edit` in place of `mutant`;
4. the tests that must find the bug, as arguments for pytest, the likeliest to fail first.

Then run `python -m tests.mutants NAME`. When a change to the code makes a row stale, update the row
so that it plants the same bug; remove it only together with the feature.

Exit status: 0 all mutants were found, 1 a mutant survived or a row is stale.
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
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutants.bound_table import BOUND_MUTANTS
from tests.mutants.command_table import COMMAND_MUTANTS
from tests.mutants.connection_table import CONNECTION_MUTANTS
from tests.mutants.cost_table import COST_MUTANTS
from tests.mutants.isolation_table import ISOLATION_MUTANTS
from tests.mutants.mutant import SOURCE, Mutant, StaleMutantError
from tests.mutants.node_table import NODE_MUTANTS
from tests.mutants.port_table import PORT_MUTANTS
from tests.mutants.rollout_table import ROLLOUT_MUTANTS
from tests.mutants.safety_table import SAFETY_MUTANTS
from tests.mutants.scenario_table import SCENARIO_MUTANTS
from tests.mutants.table import MUTANTS
from tests.mutants.webhook_table import WEBHOOK_MUTANTS

ALL_MUTANTS = (
    *MUTANTS,
    *WEBHOOK_MUTANTS,
    *PORT_MUTANTS,
    *COMMAND_MUTANTS,
    *CONNECTION_MUTANTS,
    *BOUND_MUTANTS,
    *COST_MUTANTS,
    *NODE_MUTANTS,
    *ROLLOUT_MUTANTS,
    *SAFETY_MUTANTS,
    *ISOLATION_MUTANTS,
    *SCENARIO_MUTANTS,
)
COPIED = (
    "src",
    "tests",
    "build",
    "testbed",
    "benchmarks",
    "scripts",
    "docs",
    "pyproject.toml",
    "README.md",
)
TIMEOUT_SECONDS = 120
"""A mutant whose tests run longer counts as found."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+(?: \S+)*?)(?: - .*)?$", re.MULTILINE)


def main() -> int:
    """Run the command line; return the exit status."""
    arguments = _parse()
    chosen = [m for m in ALL_MUTANTS if _matches(m, arguments.words)]
    if not chosen:
        print(f"no mutant matches {' '.join(arguments.words)}")
        return 1
    if arguments.list:
        for mutant in chosen:
            files = " ".join(dict.fromkeys(edit.file for edit in mutant.edits))
            print(f"{mutant.name}\n    {files}\n    " + "\n    ".join(mutant.tests))
        return 0
    problems = _check(chosen)
    if problems or arguments.check:
        print("\n".join(problems) or f"all {len(chosen)} rows fit the code")
        return min(1, len(problems))
    with tempfile.TemporaryDirectory(prefix="spotalis-mutants-") as folder:
        tree = Path(folder)
        _copy(tree)
        return _run_all(tree, chosen)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="part of a mutant's name or file")
    parser.add_argument("--list", action="store_true", help="list mutants; run nothing")
    parser.add_argument("--check", action="store_true", help="check the rows; run nothing")
    return parser.parse_args()


def _matches(mutant: Mutant, words: Sequence[str]) -> bool:
    texts = (mutant.name, *(edit.file for edit in mutant.edits))
    return not words or any(word in text for word in words for text in texts)


def _check(chosen: Sequence[Mutant]) -> list[str]:
    """Problems of rows: duplicate names, text that does not fit, and tests that do not exist."""
    names = [mutant.name for mutant in ALL_MUTANTS]
    problems = [f"{name}: duplicate name" for name in {n for n in names if names.count(n) > 1}]
    for mutant in chosen:
        try:
            for file, text in _planted(Path(), mutant).items():
                compile(text, file, "exec")
        except (StaleMutantError, OSError, SyntaxError) as error:
            problems.append(f"{mutant.name}: {error}")
        for test in mutant.tests:
            file, _, function = test.partition("::")
            path = Path(file)
            if not path.exists() or f"def {function.partition('[')[0]}" not in path.read_text():
                problems.append(f"{mutant.name}: no test {test}")
    return problems


def _planted(tree: Path, mutant: Mutant) -> dict[str, str]:
    """The texts of the changed files, by path relative to SOURCE, with the bug planted."""
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        text = texts.get(edit.file) or (tree / SOURCE / edit.file).read_text()
        texts[edit.file] = edit.applied(text)
    return texts


def _run_all(tree: Path, chosen: Sequence[Mutant]) -> int:
    tests = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
    failed = _first_failure(tree, tests, timeout=TIMEOUT_SECONDS * len(tests))
    if failed:
        print(f"this test fails without any bug: {failed}")
        return 1
    survivors = 0
    for mutant in chosen:
        began = time.monotonic()  # noqa: TID251  # a program of its own
        failed = _run(tree, mutant)
        seconds = time.monotonic() - began  # noqa: TID251
        survivors += not failed
        outcome = f"found     {mutant.name}  <-  {failed}" if failed else f"SURVIVED  {mutant.name}"
        print(f"{seconds:6.1f} s  {outcome}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants found")
    return min(1, survivors)


def _run(tree: Path, mutant: Mutant) -> str:
    """Plant the bug, run its tests, and restore the tree. Returns the first failing test or ""."""
    planted = _planted(tree, mutant)
    originals = {file: (tree / SOURCE / file).read_text() for file in planted}
    try:
        for file, text in planted.items():
            (tree / SOURCE / file).write_text(text)
        return _first_failure(tree, mutant.tests)
    finally:
        for file, text in originals.items():
            (tree / SOURCE / file).write_text(text)


def _first_failure(tree: Path, tests: Iterable[str], *, timeout: int = TIMEOUT_SECONDS) -> str:
    """Run tests in the tree and return the first that fails, or "" if all pass.

    Raises RuntimeError if pytest cannot run them.
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
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"timeout after {timeout} s"
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
