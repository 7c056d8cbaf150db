"""Settings that hold for every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance-seeds",
        type=int,
        default=0,
        help="random request scripts for both beds: so many, instead of a few, and the slow ones",
    )
    parser.addoption(
        "--conformance-first-seed", type=int, default=0, help="the seed of the first of them"
    )

    parser.addoption(
        "--whole-bursts",
        action="store_true",
        help="bursts on the real bed as large as on the embedded one: 1,000 pods, and 50 x 20",
    )


# The same examples in every run: what is red here is red everywhere. To look further:
# pytest --hypothesis-profile=search
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search", parent=settings.get_profile("ci"), derandomize=False, max_examples=5000
)
settings.load_profile("ci")
