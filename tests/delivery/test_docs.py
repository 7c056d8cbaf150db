"""The documentation agrees with the code: all that it names exists, and no name is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.cli_pages import ERRORS_PAGE, FOLDER, pages
from scripts.metrics_page import METRICS_PAGE, metrics_page
from spotalis.cli.error_codes import ERRORS
from spotalis.cli.errors import ExitCode
from spotalis.controller.condition import UNKNOWN_REASONS
from spotalis.controller.events import WARNINGS, EventReason
from spotalis.model.configuration import ENABLED, POD_KEYS
from spotalis.model.decision import Reason
from spotalis.model.objects import PREFIX
from spotalis.model.policy_values import KEYS
from spotalis.web.health import HealthState, readyz
from spotalis.webhook.admission import AdmissionResult
from spotalis.webhook.errors import ErrorCode
from tests.delivery.pages import RUN, commands_of, find_commands_without_test

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "build").rglob("*.md"),
     *(ROOT / "testbed").rglob("*.md")]
)  # fmt: skip
PYTHON_FILES = [
    path
    for folder in ("benchmarks", "build", "scripts", "src", "testbed", "tests")
    for path in (ROOT / folder).rglob("*.py")
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def reason_page(reason: Reason) -> str:
    return (DOCS / "reasons" / f"{reason}.md").read_text()


def reference_page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


def find_python_files(name: str) -> list[Path]:
    """The files whose path ends with the name."""
    return [path for path in PYTHON_FILES if str(path).endswith(f"/{name}")]


def first_cells(page: str) -> list[str]:
    """The names in backticks that begin the rows of a page's tables."""
    return re.findall(r"^\| `([^`]+)`", reference_page(page), re.MULTILINE)


def test_every_reason_has_a_page_and_every_page_a_reason() -> None:
    pages = {path.stem for path in (DOCS / "reasons").iterdir()}
    assert pages == {str(reason) for reason in Reason}


def test_all_pages_of_reasons_have_the_same_sections() -> None:
    pages = [reason_page(reason) for reason in Reason]
    assert len({tuple(re.findall(r"^## (.*)$", page, re.MULTILINE)) for page in pages}) == 1


@pytest.mark.parametrize("reason", Reason)
def test_the_page_of_a_reason_has_its_title_and_its_metric(reason: Reason) -> None:
    text = reason_page(reason)
    assert text.startswith(f"# {reason}\n\n")
    assert f'spotalis_workload_status{{reason="{reason}"}}' in text


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.NOT_MANAGED, Reason.READ_ONLY}))
def test_the_page_of_a_reason_names_the_status_of_the_condition(reason: Reason) -> None:
    [documented] = re.findall(r"Condition `spotalis.io/Balanced`: `?(\w+)", reason_page(reason))
    unknown = "Unknown" if reason in UNKNOWN_REASONS else "False"
    assert documented == ("True" if reason is Reason.BALANCED else unknown)


def test_the_page_of_a_reason_names_its_warning_event() -> None:
    for reason, (event, _action) in WARNINGS.items():
        assert f"Event: `{event}`" in reason_page(reason)


def test_the_page_of_events_lists_exactly_the_events_that_exist() -> None:
    assert set(first_cells("events.md")) == set(EventReason)


@pytest.mark.parametrize("reason", Reason)
def test_the_page_of_a_reason_names_only_events_that_exist(reason: Reason) -> None:
    lines = re.findall(r"Events?: (.*)$", reason_page(reason), re.MULTILINE)
    assert {name for line in lines for name in re.findall(r"`(\w+)`", line)} <= set(EventReason)


def test_the_page_of_annotations_lists_exactly_the_keys_that_exist() -> None:
    cells = first_cells("annotations.md")
    listed = {key for key in cells if "/" not in key or key.startswith(PREFIX)}
    assert listed == {*KEYS, ENABLED.removeprefix(PREFIX), *POD_KEYS}


def test_the_page_of_exit_codes_lists_exactly_the_codes_that_exist() -> None:
    listed = re.findall(r"^\| (\d+) ", reference_page("exit-codes.md"), re.MULTILINE)
    assert [int(code) for code in listed] == list(ExitCode)


def test_the_page_of_metrics_is_up_to_date() -> None:
    assert METRICS_PAGE.read_text() == metrics_page(), "run `make docs`"


def test_the_pages_of_the_commands_are_made_from_their_help() -> None:
    expected = pages()
    found = {path: path.read_text() for path in (ERRORS_PAGE, *FOLDER.glob("*.md"))}
    assert found == expected, "run `make docs`"


@every_page
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    names = re.findall(r"\bspotalis_\w+", page.read_text())
    named = {name.removesuffix("_bucket") for name in names}
    if page.name == "from-the-go-original.md":
        named -= {"spotalis_controller_last_seen_timestamp"}  # of the other operator
    assert named <= {*first_cells("metrics.md"), "spotalis_workload"}


def test_the_page_of_endpoints_names_every_reason_for_not_being_ready() -> None:
    nothing_works = HealthState(
        leader=False,
        leader_election="standby",
        webhook_server="stopped",
        controllers="waiting",
        caches="waiting for pods",
        certificate_expired=True,
        shutting_down=True,
        api_reachable=False,
    )
    _, body = readyz(nothing_works)
    text = reference_page("endpoints.md")
    assert [word for word in json.loads(body)["not_ready_because"] if f"`{word}`" not in text] == []


def test_the_page_of_endpoints_names_every_error_of_the_webhook() -> None:
    text = reference_page("endpoints.md")
    # These two have no reader: a client that disconnected, and an instance that asks the leader.
    sent = set(ErrorCode) - {ErrorCode.CLIENT_DISCONNECTED, ErrorCode.NOT_THE_LEADER}
    assert [code for code in sent if f"{code.status} `{code}`" not in text] == []


def test_the_page_of_endpoints_names_every_result_of_an_admission_request() -> None:
    text = reference_page("endpoints.md")
    # The webhook configuration sends only creations of pods. The response to a forwarded request
    # contains the leader's result.
    unseen = {
        AdmissionResult.NOT_A_POD,
        AdmissionResult.NOT_A_CREATION,
        AdmissionResult.FORWARDED,
    }
    assert [word for word in set(AdmissionResult) - unseen if f"`{word}`" not in text] == []


@every_page
def test_every_relative_link_resolves(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_every_python_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`(?:\.\./)*([\w./-]+\.py)\b", page.read_text())
    assert [name for name in named if not find_python_files(name)] == []


@every_page
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """A name that ends in "..." is the beginning of a name."""
    named = re.findall(r"`([\w./-]+\.py)::(test_\w+)(\.\.\.)?", page.read_text())
    missing = [
        (file, test)
        for file, test, cut in named
        if not any(
            re.search(rf"def {test}{'' if cut else '[(]'}", path.read_text())
            for path in find_python_files(file)
        )
    ]
    assert missing == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text())
        waiting += {(page.parent / link).resolve() for link in links} - reached
    unreached = set(DOCS.rglob("*.md")) - reached
    assert {page for page in unreached if page.parent.name != "decisions"} == set()


@pytest.mark.parametrize("folder", ["start", "install", "operate"])
def test_tests_run_the_commands_of_every_page_unless_it_says_otherwise(folder: str) -> None:
    run = {DOCS / name for name in RUN}
    pages = sorted((DOCS / folder).glob("*.md"))
    assert [each for page in pages for each in find_commands_without_test(page, run)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\nmake demo\n```", "no test runs these commands"),
        ('```sh title="In a terminal"\nmake demo\n```', "no test runs these commands"),
        ("    make demo", "a block needs one of the languages"),
        ("```\nmake demo\n```", "a block needs one of the languages"),
        ("```bash\nmake demo\n```", "a block needs one of the languages"),
        ('```sh title="Not run by the tests: slow"\nmake demo\n```', "what the commands need"),
        ('```sh title="Not run by the tests"\nmake demo\n```', "what the commands need"),
        ('```sh title="Not run by the tests: needs a cluster"\nmake demo\n```', ""),
        ("```text\nmake demo\n```", ""),
    ],
)
def test_commands_that_no_test_runs_are_found(text: str, problem: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{text}\n")
    found = list(find_commands_without_test(page, ()))
    assert len(found) == bool(problem), found
    assert all(problem in each for each in found)


def test_the_commands_of_a_page_that_a_test_runs_are_no_problem(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nmake demo\n```\n")
    assert list(find_commands_without_test(page, {page})) == []


def test_every_page_that_tests_run_exists_and_has_commands() -> None:
    assert [name for name in RUN if not (DOCS / name).exists()] == []
    values_only = {"install/argo-cd.md", "install/flux.md"}
    assert {name for name in RUN if not commands_of(DOCS / name)} <= values_only


def test_every_error_code_is_described() -> None:
    code = re.compile(r"\"(SP\d{3})\"")
    used = {
        found for path in (ROOT / "src").rglob("*.py") for found in code.findall(path.read_text())
    }
    assert used == set(ERRORS)
