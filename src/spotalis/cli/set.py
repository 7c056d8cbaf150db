"""``spotalis set``: change the policy of workloads and namespaces."""

from __future__ import annotations

import argparse

from spotalis.cli.cluster_flags import add_connection_flags
from spotalis.cli.errors import usage_error
from spotalis.cli.names import WORKLOADS

DESCRIPTION = """\
Write annotations of Spotalis to workloads or namespaces. Values are checked
before anything is written. KEY- removes a key.

Examples:
  spotalis set deploy/api spot-percentage=70 min-on-demand=2 -n shop
  spotalis set ns/shop spot-percentage=50
  spotalis set deploy/api min-on-demand- --dry-run"""

KINDS = (*WORKLOADS, "Namespace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "words", nargs="*", metavar="TYPE/NAME KEY=VALUE", help="Objects, then keys and values."
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Let the API server check the change only."
    )
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the annotations.

    Raises:
        CommandError: a key or value is invalid, or the API server rejects the change.
    """
    from spotalis.cli.annotate import PREFIX, annotate, read_objects

    changes = [w for w in arguments.words if "=" in w or (w.endswith("-") and "/" not in w)]
    arguments.names = [word for word in arguments.words if word not in changes]
    if not changes:
        raise usage_error(
            "name a key and a value", f"{arguments.command} deploy/NAME spot-percentage=70"
        )
    annotate(
        arguments,
        read_objects(arguments, KINDS),
        {PREFIX + key: value for key, value in map(_change, changes)},
    )


def _change(text: str) -> tuple[str, str | None]:
    """The key and the value; None to remove it.

    Raises:
        CommandError: the key is unknown or the value is invalid.
    """
    from spotalis.model.policy_text import check_length
    from spotalis.model.policy_values import KEYS
    from spotalis.model.suggestion import did_you_mean

    key, equals, value = text.partition("=")
    key = key.removeprefix("spotalis.io/")
    key = key if equals else key.removesuffix("-")
    if key != "enabled" and key not in KEYS:
        hint = did_you_mean(key, (*KEYS, "enabled"), quote="'")
        raise usage_error(f"'{key}' is not a key of Spotalis{hint}", "spotalis key --list")
    if not equals:
        return key, None
    try:
        if key == "enabled":
            if value not in ("true", "false"):
                raise ValueError('must be "true" or "false"')
        else:
            KEYS[key](check_length(value).strip())
    except ValueError as error:
        raise usage_error(f"{key} '{value}' {error}", f"spotalis key {key}") from None
    return key, value
