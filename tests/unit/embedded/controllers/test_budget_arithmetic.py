"""The arithmetic of disruption budgets."""

from __future__ import annotations

import pytest

from spotalis.embedded.controllers.budget_arithmetic import allowance


@pytest.mark.parametrize(
    ("minimum", "maximum", "pods", "scale", "healthy", "expected"),
    [
        # (desired healthy, expected pods, disruptions allowed)
        pytest.param(8, None, 10, 0, 10, (8, 10, 2), id="minAvailable as a number"),
        pytest.param(8, None, 7, 0, 7, (8, 7, 0), id="disruptions are never negative"),
        pytest.param("50%", None, 7, 7, 7, (4, 7, 3), id="minAvailable rounds up"),
        pytest.param(
            "50%", None, 3, 7, 3, (4, 7, 0), id="percentages are of the scale, not of the pods"
        ),
        pytest.param(None, 1, 10, 10, 10, (9, 10, 1), id="maxUnavailable as a number"),
        pytest.param(None, "20%", 7, 7, 7, (5, 7, 2), id="maxUnavailable rounds up as well"),
        pytest.param(None, "20%", 7, 7, 5, (5, 7, 0), id="unhealthy pods count as unavailable"),
        pytest.param(None, 5, 3, 3, 3, (0, 3, 3), id="maxUnavailable above the scale"),
        pytest.param(0, None, 0, 0, 0, (0, 0, 0), id="no pods"),
        pytest.param(None, None, 3, 3, 3, (0, 0, 0), id="neither field is set"),
    ],
)
def test_what_a_budget_allows(
    minimum: int | str | None,
    maximum: int | str | None,
    pods: int,
    scale: int,
    healthy: int,
    expected: tuple[int, int, int],
) -> None:
    counted = allowance(
        min_available=minimum, max_unavailable=maximum, pods=pods, scale=scale, healthy=healthy
    )
    assert (counted.desired, counted.expected, counted.disruptions) == expected
