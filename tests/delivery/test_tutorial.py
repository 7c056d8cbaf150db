"""The commands of docs/start/first-workload.md, run as the page says, on a real API server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.delivery.installed_operator import installed_operator
from tests.delivery.kubectl import Kubectl
from tests.delivery.test_install import control_plane as control_plane
from tests.delivery.test_install import installed as installed
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import ControlPlane

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "start" / "first-workload.md"
MINUTES_FOR_A_STEP = 5


def manifest() -> str:
    """The YAML block of the page."""
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


def blocks() -> list[list[str]]:
    """The indented blocks of the page in order: commands, or what they print."""
    found: list[list[str]] = [[]]
    text = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    for line in text.splitlines():
        if line.startswith("    "):
            found[-1].append(line[4:])
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def test_the_commands_of_the_tutorial_print_what_it_shows(
    installed: ControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "api.yaml").write_text(manifest())
    kubectl = Kubectl(installed)
    printed, commands = "", 0
    with installed_operator(installed, tmp_path):
        for block in blocks():
            if not block[0].startswith("kubectl "):
                for line in block:
                    assert line == "..." or _shown(line, printed), (line, printed)
                continue
            printed = ""
            for command in block:
                done = kubectl.shell(command, folder=tmp_path, minutes=MINUTES_FOR_A_STEP)
                assert done.returncode == 0, (command, done.stdout, done.stderr)
                printed += done.stdout
                commands += 1
    assert commands == sum(line.startswith("kubectl ") for block in blocks() for line in block)
    assert commands > 15


def _shown(line: str, printed: str) -> bool:
    """Whether a line was printed; times, counts in sentences and widths of columns may differ."""
    words = [word for word in line.split() if not re.fullmatch(r"\d+s", word)]
    patterns = [r"\d+" if word.isdecimal() else re.escape(word) for word in words]
    return re.search(r"\s+(?:\S+\s+)?".join(patterns), printed) is not None


def test_the_doctor_finds_a_sound_installation(installed: ControlPlane, tmp_path: Path) -> None:
    kubectl = Kubectl(installed)
    body = workload_body("Deployment", "checked", 4, policy(50))
    with installed_operator(installed, tmp_path):
        installed.request("POST", "/apis/apps/v1/namespaces/default/deployments", body)
        kubectl("status", "deploy/checked", "--wait", "--timeout", "2m")
        checks = {item["name"]: item for item in kubectl.items("doctor")}
        pods = installed.request("GET", "/api/v1/namespaces/default/pods")["items"]
    wrong = {name: item for name, item in checks.items() if item["state"] != "ok"}
    assert wrong == {}
    assert "was placed in" in checks["webhook"]["message"]
    assert len(pods) == 4  # the dry run has created none
