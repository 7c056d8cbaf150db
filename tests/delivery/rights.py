"""What the manifests grant, and what docs/reference/permissions.md says about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import yaml

ROOT = Path(__file__).parents[2]
RBAC = ROOT / "build" / "k8s" / "rbac.yaml"
PAGE = ROOT / "docs" / "reference" / "permissions.md"

Right: TypeAlias = tuple[str, str, str, str]
"""Where (``cluster``, ``own namespace``), API group (``core``), resource/subresource, verb."""


def granted() -> set[Right]:
    """By the roles."""
    where = {"ClusterRole": "cluster", "Role": "own namespace"}
    return {
        (where[role["kind"]], group or "core", resource, verb)
        for role in yaml.safe_load_all(RBAC.read_text())
        if role["kind"] in where
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def in_every_run() -> set[Right]:
    """Those that the page says every run uses."""
    return {(*cells[:3], verb) for cells in _rows() for verb in _verbs(cells[3])}


def in_reserve() -> set[Right]:
    """Those that the page gives another reason for."""
    return {(*cells[:3], verb) for cells in _rows() for verb in _verbs(cells[4])}


def _rows() -> Iterator[tuple[str, str, str, str, str]]:
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in ("cluster", "own namespace"):
            where, group, resource, used, reserve, _why = cells
            yield where, group, resource.strip("`"), used, reserve


def _verbs(cell: str) -> list[str]:
    return [verb.strip() for verb in cell.split(",") if verb.strip()]
