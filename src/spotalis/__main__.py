"""``python -m spotalis`` and the console scripts start here."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from spotalis.cli.main import run

    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
