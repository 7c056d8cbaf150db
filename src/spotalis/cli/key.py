"""``spotalis key``: the reference of labels and annotations, as `kubectl explain` is for fields."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from spotalis.cli.errors import usage_error
from spotalis.cli.output import table

DESCRIPTION = """\
Describe the labels and annotations that owners of workloads write, or what the
code of an error means.

Examples:
  spotalis key                      # all keys
  spotalis key spot-percentage
  spotalis key SP101                # what does error[SP101] mean?
  spotalis key --schema status      # JSON Schema of `spotalis status -o json`"""

SCHEMAS = ("status", "plan", "explain")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHelp:
    """The description of a key."""

    values: str
    default: str
    meaning: str
    example: str
    patterns: tuple[str, ...]
    """Regular expressions (RE2) that a valid value matches as a whole. The admission policy in
    build/k8s/optional/policy-warnings.yaml is made from them."""
    also: tuple[str, ...] = ()
    """Other keys to read about."""


_TRUTH = ("true|false",)
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_PARTS = "".join(f"({_NUMBER}{unit})?" for unit in ("w", "d", "h", "m", "s", "ms"))
_DURATION = ("[0-9].*", _PARTS)

KEY_HELP = {
    "enabled": KeyHelp(
        values='"true" or "false"',
        default="not managed",
        meaning="Opts a workload in or out. A label or an annotation. If both exist on one object "
        'and differ, "false" wins.',
        example='spotalis.io/enabled: "true"',
        patterns=_TRUTH,
        also=("spot-percentage",),
    ),
    "spot-percentage": KeyHelp(
        values="whole number from 0 to 100, with or without %",
        default="no policy: no replica is placed or moved",
        meaning="Percentage of the replicas that run on spot nodes, rounded down.",
        example='spotalis.io/spot-percentage: "70"',
        patterns=("(0?[0-9]{1,2}|100)%?",),
        also=("min-on-demand",),
    ),
    "min-on-demand": KeyHelp(
        values="whole number from 0 to 9999",
        default="0",
        meaning="Minimum number of replicas on on-demand nodes. Takes precedence over "
        "spot-percentage, and has no effect without it.",
        example='spotalis.io/min-on-demand: "2"',
        patterns=("[0-9]{1,4}",),
        also=("spot-percentage",),
    ),
    "spot-fallback": KeyHelp(
        values="duration such as 90s or 5m, or never",
        default="120s",
        meaning="How long a replica may wait for a spot node before it starts on on-demand.",
        example='spotalis.io/spot-fallback: "5m"',
        patterns=("never|[0-9].*", f"never|{_PARTS}"),
    ),
    "max-moves-in-flight": KeyHelp(
        values="whole number from 1 to 9999, or a percentage of the replicas from 1% to 100%",
        default="10%, and at least 1",
        meaning="Maximum number of replicas that may be missing because of moves.",
        example='spotalis.io/max-moves-in-flight: "2"',
        patterns=("[0-9]{0,3}[1-9][0-9]{0,3}%?",),
    ),
    "paused-until": KeyHelp(
        values="RFC 3339 time such as 2026-12-24T06:00:00Z, or forever",
        default="not paused",
        meaning="Until then no pod is evicted; new pods are still placed. On the namespace of the "
        "operator it pauses the whole cluster.",
        example='spotalis.io/paused-until: "forever"',
        patterns=("forever|[0-9]{4}.*T.*(Z|z|[+-][0-9:.]+)",),
    ),
    "paused-reason": KeyHelp(
        values="text of at most 256 characters",
        default="none",
        meaning="Why the workload is paused. Shown in its status; `spotalis pause --reason` "
        "writes it.",
        example='spotalis.io/paused-reason: "migration of the database"',
        patterns=("(?s).*",),
        also=("paused-until",),
    ),
    "disruption-schedule": KeyHelp(
        values="cron expression with 5 fields",
        default="moves are always allowed",
        meaning="When a window for moves opens.",
        example='spotalis.io/disruption-schedule: "0 2 * * 1-5"',
        patterns=(r"\S+(\s+\S+){4}",),
        also=("disruption-duration", "disruption-timezone"),
    ),
    "disruption-duration": KeyHelp(
        values="duration",
        default="moves are always allowed",
        meaning="How long the window stays open.",
        example='spotalis.io/disruption-duration: "3h"',
        patterns=_DURATION,
        also=("disruption-schedule", "disruption-timezone"),
    ),
    "disruption-timezone": KeyHelp(
        values="IANA time zone",
        default="UTC",
        meaning="The time zone of disruption-schedule.",
        example='spotalis.io/disruption-timezone: "Europe/Berlin"',
        patterns=("[A-Za-z0-9_+/-]+",),
        also=("disruption-schedule",),
    ),
    "pdb-override": KeyHelp(
        values='"true" or "false"',
        default='"false"',
        meaning="Delete a pod if a PodDisruptionBudget blocks its move. Also needs pdbOverride in "
        "the settings of the operator, and a permission.",
        example='spotalis.io/pdb-override: "true"',
        patterns=_TRUTH,
    ),
}
"""By key, without the prefix."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="KEY",
        help="With or without spotalis.io/; or a code such as SP101.",
    )
    parser.add_argument("--list", action="store_true", help="Print the names only.")
    parser.add_argument(
        "--schema", choices=SCHEMAS, metavar="COMMAND", help=f"One of {', '.join(SCHEMAS)}."
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the reference.

    Raises:
        CommandError: the key or the code does not exist.
    """
    if arguments.schema:
        print(schema(arguments.schema))
    elif arguments.list:
        print("\n".join(KEY_HELP))
    elif arguments.name and re.fullmatch(r"SP[0-9]+", arguments.name.upper()):
        print(describe_code(arguments.name.upper()))
    elif arguments.name:
        print(describe(arguments.name))
    else:
        rows = [(key, help_.values, help_.default) for key, help_ in KEY_HELP.items()]
        print(table(rows, headers=("KEY", "VALUES", "DEFAULT")))


def describe(name: str) -> str:
    """The description of one key.

    Raises:
        CommandError: the key does not exist.
    """
    import textwrap

    from spotalis.settings.declarations import ANNOTATION_ONLY_KEYS

    key = name.removeprefix("spotalis.io/")
    if key not in KEY_HELP:
        from spotalis.model.suggestion import did_you_mean

        hint = did_you_mean(key, KEY_HELP, quote="'")
        raise usage_error(f"'{name}' is not a key of Spotalis{hint}", "spotalis key --list")
    found = KEY_HELP[key]
    kind = "label or annotation" if key == "enabled" else "annotation"
    has_default = key != "enabled" and key not in ANNOTATION_ONLY_KEYS
    settings = ", then `defaults` in the settings" if has_default else ""
    lines = [
        f"KEY:      spotalis.io/{key} ({kind})",
        f"VALUES:   {found.values}",
        f"DEFAULT:  {found.default}",
        f"READ FROM: the workload, then its Namespace{settings}",
        "",
        *textwrap.wrap(found.meaning, 79),
        "",
        "With an invalid value the workload is left unchanged and reports InvalidPolicy.",
        "",
        "EXAMPLE:",
        f"  {found.example}",
    ]
    if found.also:
        lines += ["", f"SEE ALSO: {', '.join(found.also)}"]
    return "\n".join(lines)


def describe_code(code: str) -> str:
    """The description of an error code.

    Raises:
        CommandError: the code does not exist.
    """
    import textwrap

    from spotalis.cli.error_codes import ERRORS

    if code not in ERRORS:
        first, *_, last = ERRORS
        raise usage_error(
            f"'{code}' is not a code of Spotalis; they are {first} to {last}",
            "docs/reference/errors.md lists them",
        )
    meaning, fix, meanwhile = ERRORS[code]
    texts = {"CODE": code, "MEANING": meaning, "MEANWHILE": meanwhile, "FIX": fix}
    return "\n".join(
        textwrap.fill(
            text,
            79,
            initial_indent=f"{title + ':':<11}",
            subsequent_indent=" " * 11,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for title, text in texts.items()
        if text
    )


def schema(command: str) -> str:
    """The JSON Schema (2020-12) of what a command prints with ``-o json``."""
    import msgspec

    from spotalis.cli.explanations import WorkloadExplanation
    from spotalis.cli.views import WorkloadPlanList, WorkloadSplitList

    types = {
        "status": WorkloadSplitList,
        "plan": WorkloadPlanList,
        "explain": WorkloadExplanation,
    }
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(types[command]))).decode()
