"""Every bug still fits the code that it is planted in; ``make mutants`` shows that it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, SOURCE, Edit, Mutant, StaleMutantError


@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.name) for m in MUTANTS])
def test_a_mutant_fits_and_can_be_compiled(mutant: Mutant) -> None:
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        text = texts.get(edit.file) or (SOURCE / edit.file).read_text()
        texts[edit.file] = edit.applied(text)
        assert texts[edit.file] != text
    for file, text in texts.items():
        compile(text, file, "exec")


@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.name) for m in MUTANTS])
def test_the_tests_that_are_to_kill_it_are_there(mutant: Mutant) -> None:
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in Path(file).read_text(), test


def test_there_are_at_least_25_and_no_two_of_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


@pytest.mark.parametrize("text", ["", "a = 1\na = 1\n"])
def test_a_mutant_whose_text_is_gone_or_stands_twice_is_stale(text: str) -> None:
    edit = Edit(file="x.py", before="a = 1", after="a = 2")
    with pytest.raises(StaleMutantError, match=r"x\.py: [02] times, not once: 'a = 1'"):
        edit.applied(text)
