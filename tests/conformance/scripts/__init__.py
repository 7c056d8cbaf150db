"""The named scripts: coroutines that take a Session and run on both clusters."""

from __future__ import annotations

from tests.conformance.clusters import Script
from tests.conformance.scripts import (
    admission,
    budgets,
    controllers,
    lists,
    owners,
    patches,
    scheduling,
    scheduling_rules,
    server,
    stateful_sets,
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
    stateful_sets,
    scheduling,
    scheduling_rules,
    admission,
)
SCRIPTS: dict[str, Script] = {
    f"{topic.__name__.rpartition('.')[2]}-{script.__name__}".replace("_", "-"): script
    for topic in _TOPICS
    for script in topic.SCRIPTS
}
"""By topic and name, as in ``writes-optimistic-update``; the name is also the namespace."""
SLOW: dict[str, Script] = {"watches-bookmarks-every-minute": watches.bookmarks_every_minute}
"""Take a minute on the real cluster."""
ALONE: dict[str, Script] = {"lists-compacted-versions": lists.compacted_versions}
"""Restart the API server of the real cluster."""
