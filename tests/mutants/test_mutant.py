from __future__ import annotations

import pytest

from tests.mutants.mutant import Edit, StaleMutantError


@pytest.mark.parametrize(
    "text", [pytest.param("", id="missing"), pytest.param("a = 1\na = 1\n", id="twice")]
)
def test_an_edit_whose_text_does_not_occur_exactly_once_is_stale(text: str) -> None:
    edit = Edit(file="x.py", before="a = 1", after="a = 2")
    with pytest.raises(StaleMutantError, match=r"x\.py: [02] occurrences, not one: 'a = 1'"):
        edit.applied(text)
