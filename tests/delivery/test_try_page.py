"""The commands of docs/start/try.md: the demo, its cluster seen by kubectl, and a real cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.markdown_pages import ROOT
from tests.delivery.kubectl import Kubectl
from tests.delivery.pages import Page
from tests.delivery.test_install import control_plane as control_plane
from tests.support.cluster import workload_body
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually

pytestmark = pytest.mark.real


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like the repository after `make demo`."""
    for entry in ROOT.iterdir():
        if entry.name != ".venv-run":
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / ".venv-run").symlink_to(ROOT / ".venv")
    return tmp_path


def test_the_commands_of_the_first_page(control_plane: ControlPlane, checkout: Path) -> None:
    kubectl = Kubectl(control_plane)
    page = Page("start/try.md", kubectl, checkout)
    assert "Balanced" in page.follow()  # make demo
    with in_a_second_terminal(page.command(), kubectl, checkout):
        printed = page.follow()
        assert "spot" in printed
        assert "condition met" in printed
    (checkout / ".kube").mkdir(exist_ok=True)
    (checkout / ".kube" / "config").write_text(control_plane.kubeconfig("admin").read_text())
    control_plane.add_nodes(spot=1)
    body = workload_body("Deployment", "api", 10)
    control_plane.request("POST", "/apis/apps/v1/namespaces/default/deployments", body)
    eventually(lambda: len(control_plane.ready_pods("default")) == 10, within=60, what="10 pods")
    assert "default/deploy/api" in page.follow()
    page.assert_finished()


@contextmanager
def in_a_second_terminal(command: str, kubectl: Kubectl, folder: Path) -> Iterator[None]:
    """Run a command until the block ends; the block begins when the demo says that it stays."""
    log = folder / "second-terminal.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=folder, env=kubectl.environment(folder), stdout=file, stderr=file,
        )  # fmt: skip
    try:
        eventually(
            lambda: process.poll() is not None or "Ctrl-C" in log.read_text(errors="replace"),
            within=120,
            what="the demo stays",
        )
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(30)
