"""Histories of the last run on the real control plane, to compare with when it is not running.

The histories are not committed (docs/contributing/decisions, 0015): they are kept in a folder that
git ignores. A history counts only while the files that define its script are unchanged.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

from tests.conformance import history as history_module
from tests.conformance import hooks, objects, session
from tests.conformance.beds import Script
from tests.conformance.history import History

FOLDER = Path(__file__).parents[2] / ".cache" / "conformance"


def save(name: str, script: Script, namespace: str, history: History) -> None:
    """Keep the history of a script that ran on the real control plane in ``namespace``."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = {"digest": _digest(script), "namespace": namespace, "history": history}
    (FOLDER / f"{name}.json").write_text(json.dumps(kept))


def load(name: str, script: Script) -> tuple[str, History] | None:
    """Return the namespace and the history of a script; None if there is none of this version."""
    file = FOLDER / f"{name}.json"
    if not file.exists():
        return None
    kept = json.loads(file.read_text())
    if kept["digest"] != _digest(script):
        return None
    return kept["namespace"], kept["history"]


def _digest(script: Script) -> str:
    modules = (inspect.getmodule(script), history_module, hooks, objects, session)
    sources = [Path(str(module.__file__)).read_bytes() for module in modules if module is not None]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()
