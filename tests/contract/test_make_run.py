"""`make run`: it names what it would do, and starts nothing without a confirmation."""

from __future__ import annotations

import os  # a program needs PATH
import pty
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_operator.sh"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in the place of spotalis that prints its arguments."""
    file = tmp_path / "spotalis"
    file.write_text('#!/bin/sh\necho "started: $*"\n')
    file.chmod(0o755)
    (tmp_path / "config").write_text('apiVersion: v1\ncurrent-context: "prod-eu"\nkind: Config\n')
    return file


def run(program: Path, *words: str, answer: str | None = None) -> tuple[int, str]:
    """Run the script; with an answer, on a terminal. Returns the exit code and the output."""
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251  # sh and sed
        "KUBECONFIG": str(program.parent / "config"),
        "SPOTALIS_NAMESPACE": "operators",
    }
    mine, theirs = pty.openpty()
    try:
        if answer is not None:
            os.write(mine, answer.encode())
        done = subprocess.run(
            ["sh", str(SCRIPT), str(program), *words],
            env=environment,
            stdin=subprocess.DEVNULL if answer is None else theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        os.close(mine)
        os.close(theirs)
    return done.returncode, done.stdout


def test_it_names_context_namespace_and_effects(program: Path) -> None:
    _, text = run(program)
    assert "This runs the operator on context: prod-eu\n" in text
    assert "  namespace: operators " in text
    assert "evicts pods of opted-in workloads" in text
    assert f"{program} plan -A" in text


def test_without_a_terminal_nothing_starts_unless_confirmed(program: Path) -> None:
    code, text = run(program)
    assert code == 2
    assert "started" not in text
    assert "make run ARGS=--yes" in text
    code, text = run(program, "--yes", "--resync", "9s")
    assert (code, text.splitlines()[-1]) == (
        0,
        "started: controller --log-format text --resync 9s",
    )


@pytest.mark.parametrize(("answer", "starts"), [("yes\n", True), ("y\n", False), ("\n", False)])
def test_on_a_terminal_only_the_whole_word_yes_starts_it(
    program: Path, answer: str, starts: bool
) -> None:
    code, text = run(program, answer=answer)
    assert (code == 0) is starts
    assert ("started: controller" in text) is starts
    assert ("nothing was started" in text) != starts
