"""Follows a page of the documentation as a reader does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.markdown_pages import ROOT, CodeBlock, read_page
from tests.delivery.kubectl import Kubectl

DOCS = ROOT / "docs"
NOT_RUN = "Not run by the tests: "
MINUTES_FOR_A_BLOCK = 5
LANGUAGES = frozenset({"sh", "text", "yaml"})
"""Of the blocks of these pages: without this rule, commands in other blocks would not be run."""

RUN = frozenset(
    {
        "install/aks.md",
        "install/argo-cd.md",
        "install/eks-karpenter.md",
        "install/eks-node-groups.md",
        "install/flux.md",
        "install/gke.md",
        "install/helm.md",
        "install/install.md",
        "install/namespaced.md",
        "install/openshift.md",
        "install/optional-permissions.md",
        "install/upgrade-and-uninstall.md",
        "operate/disruption-budgets.md",
        "operate/pause.md",
        "operate/troubleshoot.md",
        "start/first-workload.md",
        "start/try.md",
    }
)
"""The pages below docs whose commands a test runs."""


def commands_of(page: Path) -> list[CodeBlock]:
    """The blocks of commands that a test has to run."""
    return [
        block
        for block in read_page(page).blocks
        if block.language == "sh" and not block.title.startswith(NOT_RUN)
    ]


def find_commands_without_test(page: Path, run: Collection[Path]) -> Iterator[str]:
    """Name each block of commands that no test runs although the page does not say so.

    Args:
        page: the page.
        run: the pages whose commands a test runs.
    """
    for block in read_page(page).blocks:
        place = f"{page.name}:{block.line}"
        reason = block.title.removeprefix(NOT_RUN)
        if block.language not in LANGUAGES:
            yield f"{place}: a block needs one of the languages {', '.join(sorted(LANGUAGES))}"
        elif block.language == "sh" and block.title.startswith("Not run"):
            if reason == block.title or not reason.startswith("needs "):
                yield f"{place}: the title has to say what the commands need"
        elif block.language == "sh" and page not in run:
            yield f"{place}: no test runs these commands"


@dataclass
class Page:
    """A page, of which a test runs the commands in their order.

    A YAML block whose first line is a comment with a name is written to a file of that name.
    """

    name: str
    """Below docs."""
    kubectl: Kubectl
    folder: Path
    """Where the reader types."""
    _blocks: list[CodeBlock] = field(init=False)

    def __post_init__(self) -> None:
        self._blocks = list(read_page(DOCS / self.name).blocks)

    def follow(self, blocks: int = 1) -> str:
        """Write the files and run the commands, up to the end of so many blocks of commands.

        Returns what was printed. Raises AssertionError if a command fails.
        """
        printed = ""
        while blocks:
            block = self._blocks.pop(0)
            first = block.content.partition("\n")[0]
            if block.language == "yaml" and first.endswith(".yaml") and first.startswith("# "):
                (self.folder / first.removeprefix("# ")).write_text(block.content)
            elif block in commands_of(DOCS / self.name):
                printed += self.run(block.content)
                blocks -= 1
        return printed

    def command(self) -> str:
        """Take the next block of commands, which the test runs in its own way."""
        while (block := self._blocks.pop(0)) not in commands_of(DOCS / self.name):
            pass
        return block.content

    def skip_to(self, heading: str) -> None:
        """Skip what stands before a heading, such as ``## With Kustomize``."""
        lines = (DOCS / self.name).read_text().splitlines()
        begin = lines.index(heading)
        self._blocks = [block for block in self._blocks if block.line > begin]

    def run(self, commands: str) -> str:
        """Run commands, each of which has to succeed."""
        done = self.kubectl.shell(
            f"set -e\n{commands}", folder=self.folder, minutes=MINUTES_FOR_A_BLOCK
        )
        assert done.returncode == 0, (self.name, commands, done.stdout, done.stderr)
        return done.stdout

    def assert_finished(self, *, before: str = "") -> None:
        """Assert that no block of commands is left, on the page or before a heading."""
        lines = (DOCS / self.name).read_text().splitlines()
        end = lines.index(before) if before else len(lines)
        commands = commands_of(DOCS / self.name)
        left = [block.line for block in self._blocks if block in commands and block.line <= end]
        assert not left, f"{self.name}: the commands in lines {left} were not run"
