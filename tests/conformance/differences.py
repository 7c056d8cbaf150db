"""Where the embedded cluster is known to differ from the real one, and why that is left so.

The list can only get shorter: what is not in it fails the suite, and so does an entry that no
longer differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.conformance.history import Difference


@dataclass(frozen=True, slots=True)
class Known:
    """Differences of one script that have one reason."""

    script: str
    steps: tuple[int, ...]
    path: str
    """Pattern (``*`` is anything) of the places in the step."""
    reason: str

    def covers(self, found: Difference) -> bool:
        """Whether this is one of them."""
        literal = self.path.replace("[", "[[]")
        return found.step in self.steps and fnmatchcase(found.path, literal)


_DECODERS_WORDS = "the decoder's own words; the status, reason and code are the same"
_PARSERS_WORDS = "the parser's own words; the status, reason and code are the same"
_NO_DIFF = "the message ends in a diff of Go structs; the status, causes and field are the same"
_UPDATERS = (
    "only managers that apply are tracked (embedded/apply.py): a field that was created or updated "
    "plainly has no owner to conflict with; Spotalis does not apply"
)

KNOWN: tuple[Known, ...] = (
    Known("server-bodies-that-make-no-sense", (0, 1, 4), "body.message", _DECODERS_WORDS),
    Known("patches-merge-patches", (8, 9, 12), "body*message", _DECODERS_WORDS),
    Known("lists-tokens-and-versions-that-make-no-sense", (0,), "body.message", _DECODERS_WORDS),
    Known("writes-what-may-not-change", (5,), "body*message", _NO_DIFF),
    Known(
        "lists-label-selectors", (18, 19, 20, 22, 23, 24, 25, 28), "body.message", _PARSERS_WORDS
    ),
    Known("watches-what-streamed-lists-are-refused-for", (5,), "body.message", _PARSERS_WORDS),
    Known("patches-apply-after-others-wrote", (2, 5, 6), "*", _UPDATERS),
)


def unknown(script: str, found: list[Difference]) -> list[Difference]:
    """Those differences of a script that nobody has given a reason for."""
    own = [one for one in KNOWN if one.script == script]
    return [one for one in found if not any(known.covers(one) for known in own)]


def outlived(script: str, found: list[Difference]) -> list[Known]:
    """Entries of a script with a step that no longer differs where they say so."""
    own = [one for one in KNOWN if one.script == script]
    return [
        known
        for known in own
        if {one.step for one in found if known.covers(one)} != set(known.steps)
    ]
