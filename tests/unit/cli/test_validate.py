"""``spotalis validate``: findings, places, formats, corrections and exit codes."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from spotalis.cli.main import run

HEAD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  namespace: shop
  labels:
    spotalis.io/enabled: "true"
  annotations:
"""
SPEC = """\
spec:
  replicas: 4
  selector: {matchLabels: {app: api}}
  template:
    metadata:
      labels: {app: api}
    spec:
      containers: [{name: c, image: c}]
"""


PERCENT = "spotalis.io/spot-percentage"
LEFT_UNCHANGED = "the workload will be left unchanged and will report InvalidPolicy"
PINNED = "nodeSelector: {karpenter.sh/capacity-type: spot}"


def a_manifest(*annotations: str, spec: str = SPEC) -> str:
    lines = annotations or ('spotalis.io/spot-percentage: "50"',)
    return HEAD + "".join(f"    {line}\n" for line in lines) + spec


def findings(folder: Path, text: str, *flags: str) -> list[tuple[str, int, int]]:
    """Code, line and column of each finding in a file."""
    file = folder / "api.yaml"
    file.write_text(text)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run(["spotalis", "validate", str(file), "-o", "json", *flags])
    items = json.loads(out.getvalue())["items"]
    return [(item["code"], item["line"], item["column"]) for item in items]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(a_manifest(), [], id="a valid policy"),
        pytest.param(
            a_manifest('spotalis.io/spot-percentage: "7O"'), [("SP101", 9, 34)], id="typo"
        ),
        pytest.param(
            a_manifest("spotalis.io/spot-percentage: 70"), [("SP102", 9, 34)], id="number"
        ),
        pytest.param(
            a_manifest('spotalis.io/spot-percentage: "50"', 'spotalis.io/min-ondemand: "1"'),
            [("SP202", 10, 5)],
            id="unknown key",
        ),
        pytest.param(
            a_manifest('spotalis.io/min-on-demand: "1"'), [("SP201", 9, 32)], id="no percentage"
        ),
        pytest.param(
            a_manifest(spec=SPEC.replace("replicas: 4", "replicas: 1")),
            [("SP301", 11, 13)],
            id="nothing on spot",
        ),
        pytest.param(
            a_manifest(
                spec=SPEC.replace(
                    "    spec:\n",
                    "    spec:\n      nodeSelector: {karpenter.sh/capacity-type: spot}\n",
                )
            ),
            [("SP302", 17, 7)],
            id="pinned",
        ),
        pytest.param(
            a_manifest(
                f'{PERCENT}: "50"',
                spec=SPEC.replace(
                    "labels: {app: api}", 'labels: {app: api, spotalis.io/capcity-type: "spot"}'
                ),
            ),
            [("SP201", 15, 26)],
            id="an unknown key in the template",
        ),
        pytest.param("a: [1\n", [("SP100", 2, 1)], id="not YAML"),
        pytest.param(
            "kind: Deployment\nspec: {replicas: x}\n", [("SP103", 2, 7)], id="no Deployment"
        ),
        pytest.param(
            a_manifest(
                'spotalis.io/spot-percentage: "50"', 'spotalis.io/disruption-schedule: "0 2 * * *"'
            ),
            [("SP101", 10, 38)],
            id="half a window",
        ),
        pytest.param("{{ .Values.x }}: 1\n", [("SP100", 1, 1)], id="a template of Helm"),
        pytest.param("", [], id="an empty file"),
    ],
)
def test_a_finding_has_a_code_and_the_place_of_its_cause(
    text: str, expected: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    assert findings(tmp_path, text) == expected


def test_a_budget_that_never_allows_a_move_is_found_in_another_document(tmp_path: Path) -> None:
    budget = """\
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: api, namespace: shop}
spec:
  minAvailable: 100%
  selector: {matchLabels: {app: api}}
"""
    assert findings(tmp_path, a_manifest() + budget) == [("SP303", 23, 3)]
    assert findings(tmp_path, a_manifest() + budget.replace("100%", "3")) == []


def test_a_namespace_is_checked_itself_and_inherited(tmp_path: Path) -> None:
    namespace = """\
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  annotations: {spotalis.io/spot-percentage: "101"}
"""
    workload = a_manifest('spotalis.io/min-on-demand: "1"')
    assert findings(tmp_path, workload + namespace) == [("SP101", 23, 46)]


def test_the_text_shows_the_line_with_a_caret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(a_manifest('spotalis.io/spot-percentage: "7O"'))
    assert run(["spotalis", "validate", str(file)]) == 3
    assert capsys.readouterr().out.splitlines() == [
        f"error[SP101]: `{PERCENT}` '7O' must be a whole number from 0 to 100, with or without %",
        f" --> {file}:9:34",
        "  |",
        '9 |     spotalis.io/spot-percentage: "7O"',
        "  |                                  ^^^^",
        f"  = until this is corrected: {LEFT_UNCHANGED}",
        "",
        "1 workload in 1 file: 1 error, 0 warnings",
    ]


def test_the_output_for_github_is_one_workflow_command_per_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(a_manifest('spotalis.io/spot-percentage: "101%"'))
    assert run(["spotalis", "validate", "-f", str(file), "-o", "github"]) == 3
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        f"::error file={file},line=9,col=34,title=SP101::`spotalis.io/spot-percentage` '101%25' "
        "must be a whole number from 0 to 100, with or without %25"
    )


def test_corrections_change_only_the_wrong_text(tmp_path: Path) -> None:
    wrong = a_manifest(
        "spotalis.io/spot-percentage: 70  # a share", 'spotalis.io/min-ondemand: "1"'
    )
    assert findings(tmp_path, wrong, "--fix") == []
    assert (tmp_path / "api.yaml").read_text() == a_manifest(
        f'{PERCENT}: "70"  # a share', 'spotalis.io/min-on-demand: "1"'
    )


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--strict",), 3)])
def test_warnings_fail_only_with_strict(flags: tuple[str, ...], code: int, tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(a_manifest('spotalis.io/min-on-demand: "1"'))
    assert run(["spotalis", "validate", str(file), *flags]) == code


def test_a_directory_is_read_recursively_and_helm_names_its_templates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    rendered = "---\n# Source: shop/templates/api.yaml\n" + a_manifest(
        'spotalis.io/paused-until: "x"'
    )
    (tmp_path / "deep" / "all.yaml").write_text(rendered)
    (tmp_path / "notes.txt").write_text("a: [")
    assert run(["spotalis", "validate", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert f"--> {tmp_path}/deep/all.yaml (shop/templates/api.yaml):11:31" in out


@pytest.mark.parametrize(
    ("flags", "workloads"), [((), 1), (("-R",), 2)], ids=["as kubectl", "recursive"]
)
def test_a_directory_after_f_is_read_as_kubectl_reads_it(
    flags: tuple[str, ...], workloads: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    for file in ("one.yaml", "deep/two.yaml"):
        (tmp_path / file).write_text(a_manifest('spotalis.io/spot-percentage: "50"'))
    assert run(["spotalis", "validate", *flags, "-f", str(tmp_path)]) == 0
    noun = "workload" if workloads == 1 else "workloads"
    assert capsys.readouterr().out.startswith(f"{workloads} {noun} in ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "error[SP020]: name files or directories"),
        (["absent.yaml"], 1, "error[SP044]: cannot read absent.yaml: No such file or directory"),
    ],
)
def test_without_a_readable_file_there_is_an_error(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["spotalis", "validate", *arguments]) == code
    assert capsys.readouterr().err.startswith(message)
