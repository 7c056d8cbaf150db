"""The workflows of .github/workflows are valid, pinned, and have few permissions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.programs import ACTIONLINT
from tests.support.control_plane import binaries_or_skip

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
RELEASE = ROOT / ".github" / "workflows" / "release.yaml"


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def position(word: str) -> int:
    """Index of the only step of the release that uses an action or runs a command."""
    texts = [step.get("uses", "") + step.get("run", "") for step in steps(RELEASE)]
    [found] = [index for index, text in enumerate(texts) if word in text]
    return found


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    """Run actionlint without the linters that it uses if they are installed."""
    program = binaries_or_skip(ACTIONLINT)["actionlint"]
    return subprocess.run(
        [program, "-shellcheck=", "-pyflakes=", "-no-color", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_actionlint_accepts_every_workflow() -> None:
    assert WORKFLOWS
    assert lint(*WORKFLOWS).stdout == ""


def test_actionlint_finds_a_wrong_reference(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(RELEASE.read_text().replace("steps.build.outputs", "steps.biuld.outputs"))
    done = lint(wrong)
    assert done.returncode == 1
    assert done.stdout.count('property "biuld" is not defined') == 3


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit_with_its_version(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    pinned = re.compile(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+")
    assert [each for each in used if not pinned.fullmatch(each)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_permissions_are_denied_by_default(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {}


def test_the_release_checks_pins_then_pushes_then_attests_and_signs_the_digest() -> None:
    signed = position("cosign sign")
    assert position("pins.sh check") < position("make docker-build") < signed
    assert position("make sbom") < signed
    uses = [(step.get("uses", ""), step.get("with", {})) for step in steps(RELEASE)]
    attested = [given for action, given in uses if action.startswith("actions/attest@")]
    assert [each["subject-digest"] for each in attested] == [
        "${{ steps.build.outputs.digest }}"
    ] * 2  # fmt: skip
    assert [each.get("sbom-path") for each in attested] == [None, "dist/spotalis.cdx.json"]
    assert "OUTPUT=type=registry,rewrite-timestamp=true" in steps(RELEASE)[
        position("make docker-build")
    ]["run"]  # fmt: skip


def test_values_of_the_event_reach_scripts_as_variables_only() -> None:
    """An expression in a script would be replaced before the shell parses it."""
    assert [step for step in steps(RELEASE) if "${{" in step.get("run", "")] == []
