"""The histories of the last run on a real control plane, cached in ``.cache/histories``.

The tests that need a real control plane write them; the tests that do not compare the embedded
cluster with them, so that a wrong status or message fails within seconds. Git ignores the folder. A
cached history is used only as long as the sources that determine it are unchanged.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import history, objects, session, webhooks
from tests.conformance.clusters import Script
from tests.conformance.history import History

FOLDER = Path(__file__).parents[2] / ".cache" / "histories"
_COMMON = (history, objects, session, webhooks)
"""Modules that determine every history, besides the module of the script."""


@dataclass(frozen=True, slots=True)
class CachedHistory:
    """A history with the namespace in which the script ran."""

    namespace: str
    history: History


def save(name: str, script: Script, namespace: str, recorded: History) -> None:
    """Save the history of a real run; ``name`` is the name of the script."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = {
        "fingerprint": _fingerprint(script),
        "namespace": namespace,
        "history": recorded,
    }
    _path(name).write_text(json.dumps(document))


def load(name: str, script: Script) -> CachedHistory | None:
    """Load the history of the last real run; None if there is none or it is out of date."""
    try:
        document = json.loads(_path(name).read_text())
    except FileNotFoundError:
        return None
    if document["fingerprint"] != _fingerprint(script):
        return None
    return CachedHistory(document["namespace"], document["history"])


def _path(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _fingerprint(script: Script) -> str:
    modules = [*_COMMON, sys.modules[script.__module__]]
    sources = "\0".join(inspect.getsource(module) for module in modules)
    return hashlib.sha256(sources.encode()).hexdigest()
