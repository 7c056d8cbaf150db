"""The pages say what the code does: words, names and links that would drift are compared."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from scripts.reference import METRICS_PAGE, metrics_page
from spotalis.cli.faults import ExitCode
from spotalis.controller import condition, events
from spotalis.model.configuration import ENABLED, KEYS, POD_KEYS
from spotalis.model.decision import Reason
from spotalis.model.objects import PREFIX
from spotalis.web.health import HealthState, readyz
from spotalis.webhook import admission, server
from tests.mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "build").rglob("*.md"),
     *(ROOT / "testbed").rglob("*.md")]
)  # fmt: skip
HEADINGS = ["What happens meanwhile", "What to do", "How it shows"]


def reason_page(reason: Reason) -> str:
    return (DOCS / "reasons" / f"{reason}.md").read_text()


def source_of(module: object) -> str:
    return Path(str(getattr(module, "__file__", ""))).read_text()


def first_cells(page: str) -> list[str]:
    """What stands between backticks at the beginning of a table's rows."""
    return re.findall(r"^\| `([^`]+)`", (DOCS / "reference" / page).read_text(), re.MULTILINE)


def words_of_events() -> set[str]:
    """Every CamelCase word of two humps that controller/events.py says."""
    constants = (
        node.value for node in ast.walk(ast.parse(source_of(events)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )  # fmt: skip
    return {word for word in constants if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", word)}


def test_every_reason_has_its_page_and_no_page_is_left_over() -> None:
    pages = {path.stem for path in (DOCS / "reasons").iterdir()}
    assert pages == {str(reason) for reason in Reason}


@pytest.mark.parametrize("reason", Reason)
def test_the_page_of_a_reason_answers_the_same_questions(reason: Reason) -> None:
    text = reason_page(reason)
    assert text.startswith(f"# {reason}\n\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert f'spotalis_workload_status{{reason="{reason}"}}' in text


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.NOT_MANAGED, Reason.READ_ONLY}))
def test_the_page_of_a_reason_names_the_condition_that_is_written(reason: Reason) -> None:
    [said] = re.findall(r"Condition `spotalis.io/Balanced`: (\w+)", reason_page(reason))
    unknown = "Unknown" if reason in condition._UNKNOWN else "False"
    assert said == ("True" if reason is Reason.BALANCED else unknown)
    lasting = reason in condition._TRANSIENT
    assert lasting == bool(re.search(r"lasts 10 s|between two moves", reason_page(reason)))


def test_the_page_of_a_reason_names_the_event_that_warns_of_it() -> None:
    for reason, (event, _action) in events._WARNED.items():
        assert f"Event: `{event}`" in reason_page(reason)


def test_every_event_is_listed_and_no_other() -> None:
    assert set(first_cells("events.md")) == words_of_events()
    named = {
        word
        for reason in Reason
        for line in re.findall(r"Event: (.*)\.$", reason_page(reason), re.MULTILINE)
        for word in re.findall(r"`(\w+)`", line)
    }
    assert named <= words_of_events()


def test_every_key_is_listed_and_no_other() -> None:
    ours = {key for key in first_cells("annotations.md") if not key.startswith("controller.")}
    assert ours == {*KEYS, ENABLED.removeprefix(PREFIX), *POD_KEYS}


def test_every_exit_code_is_listed_and_no_other() -> None:
    text = (DOCS / "reference" / "exit-codes.md").read_text()
    assert [int(code) for code in re.findall(r"^\| (\d+) ", text, re.MULTILINE)] == list(ExitCode)


def test_the_page_of_the_metrics_is_made_from_the_code() -> None:
    assert METRICS_PAGE.read_text() == metrics_page(), "run `make docs`"


def test_no_page_speaks_of_a_metric_that_does_not_exist() -> None:
    known = set(first_cells("metrics.md"))
    for page in PAGES:
        spoken = set(re.findall(r"\bspotalis_\w+", page.read_text()))
        assert spoken - known - {"spotalis_workload"} == set(), page


def test_the_page_of_the_endpoints_names_every_reason_not_to_be_ready() -> None:
    everything = HealthState(
        leader=False,
        leader_election="standby",
        webhook_server="waiting",
        controllers="waiting",
        caches="waiting for pods",
        certificate_expired=True,
        shutting_down=True,
        api_reachable=False,
    )
    _, body = readyz(everything)
    text = (DOCS / "reference" / "endpoints.md").read_text()
    assert [word for word in json.loads(body)["not_ready_because"] if f"`{word}`" not in text] == []


def test_the_page_of_the_endpoints_names_every_error_and_verdict_of_the_webhook() -> None:
    text = (DOCS / "reference" / "endpoints.md").read_text()
    errors = set(re.findall(r'RequestRejected\(\s*(\d+), "([A-Z_]+)"', source_of(server)))
    errors.discard(("400", "CALLER_GONE"))  # nobody is there to read it
    assert errors
    assert {(s, c) for s, c in errors if f"{s} `{c}`" not in text} == set()
    verdicts = set(re.findall(r'(?:AdmissionDecision\(|return )"([a-z-]+)"', source_of(admission)))
    verdicts -= {"not-a-pod", "not-a-creation"}  # what our webhook configuration does not send
    verdicts.discard("forwarded")  # the answer is the leader's, with its own word
    assert {verdict for verdict in verdicts if f"`{verdict}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_leads_to_every_page() -> None:
    indexes = (DOCS / "README.md", DOCS / "contributing" / "README.md")
    linked = {
        (index.parent / link).resolve()
        for index in indexes
        for link in re.findall(r"\]\(([^)#:]+)\)", index.read_text())
    }
    pages = {page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"}
    assert pages - linked == {DOCS / "README.md"}


def test_every_task_has_its_row_and_every_file_in_it_is_there() -> None:
    text = (DOCS / "contributing" / "tasks.md").read_text()
    rows = re.findall(r"^\| (T\d{3}) \|(.*)$", text, re.MULTILINE)
    assert [number for number, _ in rows] == [f"T{n:03d}" for n in range(1, 55)]
    for number, row in rows:
        for name in re.findall(r"`([\w./-]+/[\w./-]*)`", row):
            assert (ROOT / name).exists() or (ROOT / "src/spotalis" / name).exists(), (number, name)


ROWS_OF_SCENARIOS = [
    "T010", "T011", "T011b", "T012", "T012b", "T012c", "T013", "T013b", "PDB", "T014", "T015",
    "T016", "restart", "burst", "webhook away", "windows", "read-only",
]  # fmt: skip
BEDS = {"on_both_beds": "E R", "only_embedded": "E", "only_real": "R"}


def rows_of(page: str, columns: int) -> list[list[str]]:
    """The cells of every row of the page's tables with so many columns, but for their heads."""
    lines = (DOCS / "contributing" / page).read_text().splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:1] == "|"]
    return [row for row in rows if len(row) == columns and row[0] != "row" and "---" not in row[0]]


def stories(file: Path) -> dict[str, str]:
    """The tests of a file, and the beds that each is played on; empty: it says none itself."""
    found = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = [BEDS.get(ast.unparse(mark), "") for mark in node.decorator_list]
            found[node.name.removeprefix("test_")] = "".join(marks)
    return found


def test_the_page_of_the_scenarios_names_tests_that_are_there_with_their_beds() -> None:
    file, rows = "", []
    for row, clause, tests, beds, seen in rows_of("scenarios.md", 5):
        if row:
            rows.append(row.partition(",")[0])
            [file] = re.findall(r"`([\w./]+\.py)`", row)
        [*elsewhere] = re.findall(r"`([\w./]+\.py)`", clause)
        path = ROOT / "tests" / "integration" / "scenarios" / (elsewhere or [file])[0]
        known = stories(path)
        for name in re.findall(r"`(\w+)`", tests):
            assert name in known, (path.name, name)
            assert known[name] in (beds, ""), (name, known[name], beds)
            assert known[name] or "R" not in beds, name
        assert seen
    assert [row[: len(name)] for row, name in zip(rows, ROWS_OF_SCENARIOS, strict=True)] == (
        ROWS_OF_SCENARIOS
    )


def test_every_row_of_scenarios_has_a_planted_fault_that_a_test_of_the_page_kills() -> None:
    text = (DOCS / "contributing" / "scenarios.md").read_text()
    kills = {mutant.name: mutant.tests for mutant in MUTANTS}
    planted = rows_of("scenarios.md", 3)
    assert list(dict.fromkeys(row for row, _, _ in planted)) == ROWS_OF_SCENARIOS
    for _, fault, killer in planted:
        named = [test.partition("[")[0] for test in kills[fault]]
        assert any(test.endswith(f"::test_{killer.strip('`')}") for test in named), fault
        assert text.count(killer) > 1, killer
