"""Permissions as the manifests grant them and as docs/reference/permissions.md documents them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import yaml

from scripts.manifests import PERMISSION_FILES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "permissions.md"

Permission: TypeAlias = tuple[str, str, str, str]
"""Scope (``cluster`` or ``own namespace``), API group or ``core``, resource, verb."""


def granted() -> set[Permission]:
    """The permissions that the roles of an installation grant."""
    scopes = {"ClusterRole": "cluster", "Role": "own namespace"}
    return {
        (scopes[role["kind"]], group or "core", resource, verb)
        for file in PERMISSION_FILES
        for role in yaml.safe_load_all(file.read_text())
        if role["kind"] in scopes
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def documented_as_used() -> set[Permission]:
    """Permissions that the operator uses in every run, according to the page."""
    return {(*cells[:3], verb) for cells in _rows() for verb in _verbs(cells[3])}


def documented_as_reserve() -> set[Permission]:
    """Permissions that the operator needs in rare cases only, according to the page."""
    return {(*cells[:3], verb) for cells in _rows() for verb in _verbs(cells[4])}


def _rows() -> Iterator[tuple[str, str, str, str, str]]:
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in ("cluster", "own namespace"):
            scope, group, resource, used, reserve, _why = cells
            yield scope, group, resource.strip("`"), used, reserve


def _verbs(cell: str) -> list[str]:
    return [verb.strip() for verb in cell.split(",") if verb.strip()]
