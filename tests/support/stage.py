"""Puts a scenario on a bed: ``@on_both_beds`` runs it twice, once on each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from tests.support.bed import Bed

Scenario: TypeAlias = Callable[[Bed], Awaitable[None]]
Play: TypeAlias = Callable[[Scenario], None]
"""What a scenario test calls with its story."""

_REAL = pytest.param("real", marks=pytest.mark.real)

on_both_beds = pytest.mark.parametrize("play", ["embedded", _REAL], indirect=True)
only_embedded = pytest.mark.parametrize("play", ["embedded"], indirect=True)
only_real = pytest.mark.parametrize("play", [_REAL], indirect=True)
