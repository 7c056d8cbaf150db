"""``spotalis version``."""

from __future__ import annotations

import platform
from typing import Annotated, Literal

from cyclopts import Parameter

from spotalis import __version__


def version(
    *, output: Annotated[Literal["text", "json"], Parameter(name=["--output", "-o"])] = "text"
) -> None:
    """Print the version.

    Parameters
    ----------
    output
        text or json.
    """
    if output == "json":
        import json

        print(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        print(f"spotalis {__version__} (Python {platform.python_version()})")
