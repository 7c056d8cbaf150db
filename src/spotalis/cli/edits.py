"""Correcting manifests in place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spotalis.cli.checks import Edit, Finding


def apply_edits(findings: Iterable[Finding]) -> int:
    """Apply the edits of all findings in files; returns how many were applied.

    Standard input and templates of Helm are not files that can be edited.
    """
    by_file: dict[Path, list[Edit]] = {}
    for finding in findings:
        if finding.edit is not None and Path(finding.edit.place.file).is_file():
            by_file.setdefault(Path(finding.edit.place.file), []).append(finding.edit)
    for path, edits in by_file.items():
        lines = path.read_text("utf-8").split("\n")
        # From the end of each line, so that earlier columns stay right.
        for edit in sorted(edits, key=lambda e: (e.place.line, e.place.column), reverse=True):
            at, start = edit.place.line - 1, edit.place.column - 1
            line = lines[at]
            lines[at] = line[:start] + edit.text + line[start + edit.place.width :]
        path.write_text("\n".join(lines), "utf-8")
    return sum(map(len, by_file.values()))
