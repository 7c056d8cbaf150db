"""Completion: what could follow the words of a command line, in the protocol of kubectl."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from spotalis.cli.complete import DEFAULT, NO_FILES, completions
from spotalis.cli.completion import SCRIPTS


@pytest.mark.parametrize(
    ("words", "found", "directive"),
    [
        (["sta"], ["status"], NO_FILES),
        (["status", "dep"], ["deploy/"], NO_FILES),
        (["explain", "n"], ["node/", "ns/"], NO_FILES),
        (["status", "--sel"], ["--selector"], NO_FILES),
        (["key", "spot-p"], ["spot-percentage"], NO_FILES),
        (["completion", "z"], ["zsh"], NO_FILES),
        (["validate", "k8s/"], [], DEFAULT),
        (["unknown", "x"], [], DEFAULT),
        (["status", "--kubeconfig", "/nonexistent", "deploy/a"], [], NO_FILES),
    ],
)
def test_commands_types_flags_and_keys_are_completed(
    words: list[str], found: list[str], directive: str
) -> None:
    assert completions(words) == (found, directive)


def test_without_a_word_every_command_is_offered() -> None:
    found, _ = completions([""])
    assert {"status", "explain", "plan", "validate"} <= set(found)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_of_a_shell_is_valid(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    flag = "--no-execute" if shell == "fish" else "-n"
    done = subprocess.run(
        [program, flag], input=SCRIPTS[shell], text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
