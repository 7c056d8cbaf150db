"""The commands of docs/start/first-workload.md, run as the page says, on a real API server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.markdown_pages import read_page
from tests.delivery.installed_operator import installed_operator
from tests.delivery.kubectl import Kubectl
from tests.delivery.test_install import control_plane as control_plane
from tests.delivery.test_install import installed as installed
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import ControlPlane

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "start" / "first-workload.md"
MINUTES_FOR_A_STEP = 5


def blocks() -> list[tuple[str, list[str]]]:
    """The code blocks of the page in order, with their language: ``sh`` for commands, ``text`` for
    what they print, ``yaml`` for a file."""
    return [(block.language, block.content.splitlines()) for block in read_page(PAGE).blocks]


def test_the_commands_of_the_tutorial_print_what_it_shows(
    installed: ControlPlane, tmp_path: Path
) -> None:
    kubectl = Kubectl(installed)
    printed, commands = "", 0
    with installed_operator(installed, tmp_path):
        for language, lines in blocks():
            if language == "yaml":
                name = lines[0].removeprefix("# ")
                (tmp_path / name).write_text("\n".join(lines))
            elif language == "text":
                for line in lines:
                    assert line == "..." or _shown(line, printed), (line, printed)
            else:
                assert language == "sh"
                printed = ""
                for command in lines:
                    done = kubectl.shell(command, folder=tmp_path, minutes=MINUTES_FOR_A_STEP)
                    assert done.returncode == 0, (command, done.stdout, done.stderr)
                    printed += done.stdout
                    commands += 1
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
