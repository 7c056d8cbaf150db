"""Every named script: a coroutine that takes a Session, written once and run on both beds."""

from __future__ import annotations

from tests.conformance.beds import Script
from tests.conformance.scripts import (
    admission,
    budgets,
    controllers,
    lists,
    owners,
    patches,
    scheduling,
    server,
    watches,
    writes,
)

_TOPICS = (
    server,
    writes,
    patches,
    lists,
    watches,
    budgets,
    owners,
    controllers,
    scheduling,
    admission,
)
SCRIPTS: dict[str, Script] = {
    f"{topic.__name__.rpartition('.')[2]}-{script.__name__.replace('_', '-')}": script
    for topic in _TOPICS
    for script in topic.SCRIPTS
}
"""By topic and name, as in ``writes-optimistic-update``; that is its namespace, too."""
SLOW: dict[str, Script] = {"watches-bookmarks-every-minute": watches.bookmarks_every_minute}
"""Takes a minute on the real bed."""
ALONE: dict[str, Script] = {"lists-versions-that-are-forgotten": lists.versions_that_are_forgotten}
"""Restarts the API server of the real bed."""
