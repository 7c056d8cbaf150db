"""Reloading settings at SIGHUP: log levels change, other changes are reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from spotalis.app.reload import Reloader
from spotalis.settings.sources import Sources


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spotalis.yaml"


@pytest.fixture
def levels() -> Iterator[None]:
    """Restore the levels of the loggers afterwards."""
    names = ("", "spotalis.kube", "spotalis.web")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("levels")
def test_a_reload_applies_log_levels_and_reports_other_changes(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("logging: {levels: {spotalis.kube: debug}}")
    sources = Sources(file=file, environment={}, flags={})
    logging.getLogger("spotalis.kube").setLevel("DEBUG")
    reload = Reloader(sources, sources.load())
    file.write_text("resync: 9s\nlogging: {level: warning, levels: {spotalis.web: error}}")
    caplog.set_level("WARNING", "spotalis.app.reload")
    reload()
    assert logging.getLogger().level == logging.WARNING
    assert logging.getLogger("spotalis.kube").level == logging.NOTSET
    assert logging.getLogger("spotalis.web").level == logging.ERROR
    assert [(r.message, r.__dict__["fields"]) for r in caplog.records] == [
        ("Changed settings take effect after a restart", {"settings": ["resync"]})
    ]


@pytest.mark.usefixtures("levels")
def test_a_reload_of_invalid_settings_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = Sources(file=file, environment={}, flags={})
    file.write_text("")
    reload = Reloader(sources, sources.load())
    root = logging.getLogger().level
    file.write_text("resnyc: 9s\nlogging: {level: error}")
    reload()
    file.unlink()
    reload()
    assert logging.getLogger().level == root
    assert [r.message for r in caplog.records] == ["Failed to reload settings"] * 2
    problems = json.dumps(caplog.records[0].__dict__["fields"])
    assert "did you mean `resync`?" in problems
