"""Options, markers and Hypothesis profiles for all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent
SCENARIOS = ROOT / "integration" / "scenarios"
CHECKED = (ROOT / "unit", ROOT / "conformance" / "test_recorded.py")
"""Tests that belong to ``make check`` unless they are marked ``slow``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance-seeds",
        type=int,
        default=0,
        help="number of random request scripts to run on both beds; also runs the slow scripts",
    )
    parser.addoption(
        "--conformance-first-seed", type=int, default=0, help="seed of the first random script"
    )
    parser.addoption(
        "--whole-bursts",
        action="store_true",
        help="run bursts on the real bed as large as on the embedded bed: 1,000 pods, and 50 x 20",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign tests to the tiers of the Makefile.

    A scenario takes half a minute on the real control plane. ``make test`` runs all scenarios on
    the embedded cluster. It runs them on the real one too if they are marked ``check`` or ``both``,
    or cannot run on the embedded one; of several sets of arguments, the first. ``make test-all``
    runs the others.
    """
    seen: set[tuple[Path, str]] = set()
    for item in items:
        if item.get_closest_marker("real") is not None:
            if item.path.is_relative_to(SCENARIOS):
                function = (item.path, item.name.partition("[")[0])
                chosen = any(item.get_closest_marker(name) for name in ("check", "both"))
                if function in seen or (item.get_closest_marker("twin") and not chosen):
                    item.add_marker(pytest.mark.long)
                seen.add(function)
        elif item.get_closest_marker("slow") is None and any(
            item.path.is_relative_to(path) for path in CHECKED
        ):
            item.add_marker(pytest.mark.check)


@pytest.fixture(autouse=True)
def logging_is_restored() -> Iterator[None]:
    """Commands configure the logging of their process. The next test must not notice."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    logging.captureWarnings(False)


# Every run generates the same examples, so that a failure in CI can be reproduced. Use
# ``pytest --hypothesis-profile=search`` to look for new ones, and ``quick`` for fewer (make check).
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", parent=settings.get_profile("ci"), max_examples=25)
settings.register_profile(
    "search", parent=settings.get_profile("ci"), derandomize=False, max_examples=5000
)
settings.load_profile("ci")
