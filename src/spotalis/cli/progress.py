"""A line on a terminal about what takes longer than a second."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spotalis.cli.output import tell

QUIET_SECONDS = 1.0


@asynccontextmanager
async def progress(what: str) -> AsyncIterator[None]:
    """Print ``what`` on stderr if the block takes longer, and stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    telling = asyncio.create_task(_tell_later(what))
    try:
        yield
    finally:
        telling.cancel()


async def _tell_later(what: str) -> None:
    await asyncio.sleep(QUIET_SECONDS)
    tell(f"{what} ...")
