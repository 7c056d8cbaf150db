"""The known differences between the embedded cluster and the real one, with reasons.

The list can only become shorter: other differences fail the suite, and so do entries that no longer
differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.conformance.history import Difference


@dataclass(frozen=True, slots=True)
class Known:
    """Differences of one script with a common reason."""

    script: str
    steps: tuple[int, ...]
    path: str
    """Pattern of the paths in the step; ``*`` matches any text."""
    reason: str

    def covers(self, found: Difference) -> bool:
        """Whether the difference is a known one."""
        literal = self.path.replace("[", "[[]")
        return found.step in self.steps and fnmatchcase(found.path, literal)


_DECODER_MESSAGE = "the message of the JSON decoder; status, reason and code are equal"
_PARSER_MESSAGE = "the message of the selector parser; status, reason and code are equal"
_GO_DIFF = "the message ends with a diff of Go structs; status, causes and field are equal"

KNOWN: tuple[Known, ...] = (
    Known("server-invalid-bodies", (0, 1, 4), "body.message", _DECODER_MESSAGE),
    Known("patches-merge-patches", (8, 9, 12), "body*message", _DECODER_MESSAGE),
    Known("lists-invalid-tokens-and-versions", (0,), "body.message", _DECODER_MESSAGE),
    Known("writes-immutable-fields", (5,), "body*message", _GO_DIFF),
    Known(
        "lists-label-selectors", (16, 17, 18, 20, 21, 22, 23, 25), "body.message", _PARSER_MESSAGE
    ),
    Known("watches-invalid-options-of-streamed-lists", (5,), "body.message", _PARSER_MESSAGE),
)


def unexpected(script: str, found: list[Difference]) -> list[Difference]:
    """The differences of a script that are not in ``KNOWN``."""
    own = [one for one in KNOWN if one.script == script]
    return [one for one in found if not any(known.covers(one) for known in own)]


def resolved(script: str, found: list[Difference]) -> list[Known]:
    """The entries of a script with a step in which the path no longer differs."""
    own = [one for one in KNOWN if one.script == script]
    return [
        known
        for known in own
        if {one.step for one in found if known.covers(one)} != set(known.steps)
    ]


def check(script: str, found: list[Difference]) -> None:
    """Fail if a script has unexpected differences, or if known ones no longer occur."""
    new = unexpected(script, found)
    assert not new, "\n".join(map(str, new))
    outdated = resolved(script, found)
    assert not outdated, f"these no longer differ; remove them from KNOWN: {outdated}"
