"""Fields given by keyword reach the log record; the record names the module that logged."""

from __future__ import annotations

import logging

import pytest

from spotalis import logs


def test_keyword_fields_become_the_fields_of_the_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logs.get("spotalis.test").info("Evicted pod", pod="shop/api-1", message="100%", level="x")
    [record] = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (
        "spotalis.test",
        "INFO",
        "Evicted pod",
    )
    assert vars(record)["fields"] == {"pod": "shop/api-1", "message": "100%", "level": "x"}
    assert record.filename == "test_log_fields.py"


def test_exception_logs_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logs.get("spotalis.test").exception("Reconcile failed", workload="shop/api")
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
