"""Reloading settings in a running process."""

from __future__ import annotations

from spotalis import logs
from spotalis.app.logs import set_level
from spotalis.settings.sources import Loaded, Sources
from spotalis.settings.value_types import InvalidSettings

log = logs.get(__name__)


class Reloader:
    """Reads the settings again on each call and applies those that may change at run time."""

    def __init__(self, sources: Sources, loaded: Loaded) -> None:
        self._sources = sources
        self._at_start = loaded
        self._current = loaded

    def __call__(self) -> None:
        """Apply the log levels; log other changes, or the problems that prevent a reload."""
        try:
            loaded = self._sources.load()
        except InvalidSettings as invalid:
            log.error("Failed to reload settings", problems=list(map(str, invalid.problems)))
            return
        except OSError as error:
            log.error("Failed to reload settings", error=str(error))
            return
        old, new = self._current.settings.logging, loaded.settings.logging
        set_level("", new.level)
        for name in old.levels.keys() - new.levels.keys():
            set_level(name, "notset")
        for name, level in new.levels.items():
            set_level(name, level)
        self._current = loaded
        log.info("Reloaded log levels", log_level=new.level)
        changed = [
            key
            for key, effective in loaded.effective.items()
            if not effective.setting.live and effective.value != self._at_start.effective[key].value
        ]
        if changed:
            log.warning("Changed settings take effect after a restart", settings=changed)
