"""``kubectl_complete-spotalis``: what could follow the words of a command line.

kubectl calls it with the words after the plugin's name, and expects what cobra's ``__complete``
prints: one completion per line, then a directive
(kubernetes/staging/src/k8s.io/kubectl/pkg/cmd/plugin/plugin_completion.go).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spotalis.cli.main import COMMANDS
from spotalis.cli.parser import Parser

if TYPE_CHECKING:
    from spotalis.app.inspection import ClusterConnection

NO_FILES = ":4"
"""cobra's ShellCompDirectiveNoFileComp."""
DEFAULT = ":0"
"""cobra's ShellCompDirectiveDefault: the shell completes file names."""
TIMEOUT_SECONDS = 2.0
_TYPES = {
    "deploy": "Deployment",
    "sts": "StatefulSet",
    "rollout": "Rollout",
    "pod": "Pod",
    "node": "Node",
    "ns": "Namespace",
}


def main() -> None:
    """Print the completions of ``sys.argv``."""
    found, directive = completions(sys.argv[1:])
    print("\n".join([*found, directive]))


def completions(words: Sequence[str]) -> tuple[list[str], str]:
    """The completions of the last word, and the directive."""
    *before, current = words or [""]
    if not before:
        return _starting(COMMANDS, current), NO_FILES
    if before[0] not in COMMANDS:
        return [], DEFAULT
    command = import_module(f"spotalis.cli.{before[0]}")
    parser = Parser(before[0], "")
    command.add_arguments(parser)
    if current.startswith("-"):
        return _starting(parser.flags, current), NO_FILES
    if before[-1] in ("-n", "--namespace"):
        return _starting(_names("Namespace", parser, before), current), NO_FILES
    if before[0] in ("key", "completion"):
        return _starting(_words_of(before[0]), current), NO_FILES
    kinds = getattr(command, "KINDS", ("Deployment", "StatefulSet", "Rollout"))
    if not parser.takes_names:
        return [], DEFAULT
    type_, slash, _ = current.partition("/")
    if not slash:
        return _starting(
            [f"{t}/" for t, kind in _TYPES.items() if kind in kinds], current
        ), NO_FILES
    names = _names(_TYPES.get(type_, ""), parser, before)
    return _starting([f"{type_}/{name}" for name in names], current), NO_FILES


def _starting(words: Sequence[str], current: str) -> list[str]:
    return [word for word in words if word.startswith(current)]


def _words_of(command: str) -> list[str]:
    if command == "key":
        from spotalis.cli.key import KEY_HELP

        return list(KEY_HELP)
    from spotalis.cli.completion import SCRIPTS

    return list(SCRIPTS)


def _names(kind: str, parser: Parser, before: Sequence[str]) -> list[str]:
    """The names of objects in the cluster; empty if it cannot be read in time."""
    import asyncio

    from spotalis.cli.cluster_flags import run_connected
    from spotalis.kube.resources import NAMESPACES, NODES, PODS, WORKLOADS, Resource

    known: dict[str, Resource[Any]] = {
        **WORKLOADS,
        **{resource.kind: resource for resource in (PODS, NODES, NAMESPACES)},
    }
    if kind not in known:
        return []
    arguments, _ = parser.parse_known_args(list(before[1:]))
    resource, found = known[kind], []

    async def read(connection: ClusterConnection) -> None:
        scope = connection.namespace if resource.namespaced else ""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            listed = await connection.client().list_all(resource, scope)
        found.extend(sorted(one.name for one in listed))

    try:
        run_connected(arguments, read)
    except Exception:  # a completion never fails; the command itself says why
        return []
    return found
