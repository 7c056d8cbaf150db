"""``TYPE/NAME`` arguments, as kubectl reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spotalis.cli.errors import CommandError, ExitCode, usage_error
from spotalis.model.names import is_path_segment
from spotalis.model.suggestion import did_you_mean

_ALIASES = {
    "Deployment": ("deploy", "deployment", "deployments", "deployment.apps", "deployments.apps"),
    "StatefulSet": (
        "sts",
        "statefulset",
        "statefulsets",
        "statefulset.apps",
        "statefulsets.apps",
    ),
    "Rollout": ("ro", "rollout", "rollouts", "rollouts.argoproj.io"),
    "Pod": ("po", "pod", "pods"),
    "Node": ("no", "node", "nodes"),
    "Namespace": ("ns", "namespace", "namespaces"),
}
KINDS = {alias: kind for kind, aliases in _ALIASES.items() for alias in aliases}
"""The kind that each name of a type means."""
WORKLOADS = ("Deployment", "StatefulSet", "Rollout")
SHORT = {"Deployment": "deploy", "StatefulSet": "sts", "Rollout": "rollout"}


class Target(NamedTuple):
    """An object that the user named."""

    kind: str
    name: str


def read_targets(
    words: Sequence[str], command: str, kinds: Sequence[str] = WORKLOADS
) -> list[Target]:
    """Read ``deploy/api sts/db``, or ``deploy api web``.

    Args:
        command: for the message, such as ``spotalis status``.
        kinds: what the command accepts.

    Raises:
        CommandError: a word cannot be the name of such an object.
    """
    if len(words) > 1 and not any("/" in word for word in words):
        kind, *names = words
        return [_target(f"{kind}/{name}", command, kinds) for name in names]
    return [_target(word, command, kinds) for word in words]


def _target(word: str, command: str, kinds: Sequence[str]) -> Target:
    type_, slash, name = word.partition("/")
    kind = KINDS.get(type_.lower())
    example = f"{command} deploy/NAME"
    if not slash or not is_path_segment(name):
        raise usage_error(f"'{word}' must be TYPE/NAME, such as deploy/api", example)
    if kind is None:
        known = [alias for alias, its in KINDS.items() if its in kinds]
        hint = did_you_mean(type_, known, quote="'")
        raise usage_error(f"unknown type '{type_}'{hint}", example)
    if kind not in kinds:
        raise usage_error(f"{command} does not accept {type_}", example)
    return Target(kind, name)


def not_found(target: Target, namespace: str, known: Sequence[str]) -> CommandError:
    """The object does not exist.

    Args:
        known: the names of the objects of this kind in the namespace.
    """
    where = f' in namespace "{namespace}"' if namespace else ""
    hint = did_you_mean(target.name, known, quote='"')
    return CommandError(
        code="SP043",
        what=f'{target.kind.lower()} "{target.name}" not found{where}{hint}',
        fix=f"kubectl get {target.kind.lower()}s" + (f" -n {namespace}" if namespace else ""),
        exit_code=ExitCode.FAILED,
    )
