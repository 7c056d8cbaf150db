"""``spotalis validate``: check manifests without a cluster, for example in CI."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spotalis.cli.cluster_flags import add_output_flags, style_of
from spotalis.cli.errors import ExitCode, usage_error
from spotalis.cli.output import Style, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spotalis.cli.checks import Finding, Report

DESCRIPTION = """\
Check the labels and annotations of Spotalis in manifests: files, directories,
or - for the output of Helm or Kustomize. Needs no cluster. The exit code is 3
if there is an error, and with --strict also if there is a warning.

Examples:
  spotalis validate k8s/
  helm template CHART | spotalis validate -
  kustomize build overlays/prod | spotalis validate - -o github"""

FORMATS = ("text", "json", "yaml", "github")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FILE",
        help="Files, directories with all directories in them, or -.",
    )
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="As kubectl reads it: of a directory, the files in it.",
    )
    parser.add_argument(
        "-R", "--recursive", action="store_true", help="-f also reads directories in directories."
    )
    add_output_flags(parser, FORMATS)
    parser.add_argument("--strict", action="store_true", help="Warnings count as errors.")
    parser.add_argument(
        "--fix", action="store_true", help="Correct misspelled keys and missing quotes in files."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the findings.

    Raises:
        CommandError: no file is named, or a file cannot be read.
    """
    from spotalis.cli.checks import Severity, check
    from spotalis.cli.manifests import read_manifests

    if not (arguments.names or arguments.filename):
        raise usage_error("name files or directories", f"{arguments.command} k8s/")

    def read_and_check() -> Report:
        named = read_manifests(arguments.names, recursive=True)
        files = read_manifests(arguments.filename, recursive=arguments.recursive)
        return check([*named, *files])

    report, fixed = read_and_check(), 0
    if arguments.fix:
        from spotalis.cli.edits import apply_edits

        fixed = apply_edits(report.findings)
        report = read_and_check() if fixed else report
    print(_rendered(report, arguments.output, style_of(arguments), fixed))
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    failed = report.findings if arguments.strict else errors
    return ExitCode.FINDINGS if failed else ExitCode.SUCCESS


def _rendered(report: Report, form: str, style: Style, fixed: int) -> str:
    if form == "text":
        return "\n".join([*_text(report.findings, style), _summary(report, fixed)])
    if form == "github":
        return "\n".join([*map(_github, report.findings), _summary(report, fixed)])
    from spotalis.cli.output import dump
    from spotalis.cli.views import API_VERSION

    items = [
        {
            "code": finding.code,
            "severity": str(finding.severity),
            "message": finding.message,
            "file": finding.place.file,
            "line": finding.place.line,
            "column": finding.place.column,
            "consequence": finding.consequence,
            "fixable": finding.edit is not None,
        }
        for finding in report.findings
    ]
    return dump(
        {
            "apiVersion": API_VERSION,
            "kind": "ValidationReport",
            "workloads": report.workloads,
            "files": report.files,
            "items": items,
        },
        form,
    )


def _text(findings: Sequence[Finding], style: Style) -> Iterator[str]:
    """Each finding as compilers print it, with the line and a caret."""
    for finding in findings:
        color = "red" if finding.severity == "error" else "yellow"
        place = finding.place
        margin = " " * len(str(place.line))
        yield f"{style.paint(f'{finding.severity}[{finding.code}]', color)}: {finding.message}"
        yield f"{margin}--> {place}"
        if place.text:
            yield f"{margin} |"
            yield f"{place.line} | {place.text}"
            under = " " * (place.column - 1) + "^" * place.width
            yield f"{margin} | {style.paint(under, color)}"
        if finding.consequence:
            yield f"{margin} = until this is corrected: {finding.consequence}"
        yield ""


def _github(finding: Finding) -> str:
    """A workflow command that GitHub shows beside the line of a pull request."""
    place = finding.place
    escaped = finding.message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return (
        f"::{finding.severity} file={place.file},line={place.line},col={place.column},"
        f"title={finding.code}::{escaped}"
    )


def _summary(report: Report, fixed: int) -> str:
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    fixable = sum(finding.edit is not None for finding in report.findings)
    text = f"{counted(report.workloads, 'workload')} in {counted(report.files, 'file')}: "
    text += f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    text += f", {fixed} fixed" if fixed else ""
    return text + (f", {fixable} fixable (--fix)" if fixable else "")
