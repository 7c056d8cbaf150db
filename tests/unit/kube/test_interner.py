from __future__ import annotations

from spotalis.kube.interner import Interner


def test_a_known_key_gives_the_same_object_again() -> None:
    interner: Interner[bytes, list[int]] = Interner(limit=2)
    kept = interner.keep(b"a", [1])
    assert interner.get(b"a") is kept


def test_it_never_holds_more_than_two_generations() -> None:
    interner: Interner[int, str] = Interner(limit=10)
    for number in range(1000):
        interner.keep(number, str(number))
        assert len(interner) <= 20


def test_what_is_asked_for_outlives_what_is_not() -> None:
    interner: Interner[str, list[str]] = Interner(limit=3)
    wanted = interner.keep("wanted", [])
    forgotten = interner.keep("forgotten", [])
    for number in range(20):
        interner.keep(str(number), [])
        assert interner.get("wanted") is wanted
    assert interner.get("forgotten") is not forgotten
