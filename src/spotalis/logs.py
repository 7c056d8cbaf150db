"""Structured logging: a constant message, and fields by keyword.

A message never contains a value, so that logs can be searched and no name from the cluster can
forge a line::

    log = logs.get(__name__)
    log.warning("Eviction refused", workload="shop/api", code=429)

The records go through the standard library's ``logging``, with the fields in the record's
attribute ``fields``; :mod:`spotalis.app.logs` formats them.
"""

from __future__ import annotations

import logging


class Logger:
    """One logger of the standard library that takes fields by keyword."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, message: str, /, **fields: object) -> None:
        """Log at level debug."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        """Log at level info."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, /, **fields: object) -> None:
        """Log at level warning."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, /, **fields: object) -> None:
        """Log at level error."""
        self._log(logging.ERROR, message, fields)

    def exception(self, message: str, /, **fields: object) -> None:
        """Log at level error with the exception that is being handled and its traceback."""
        self._log(logging.ERROR, message, fields, exc_info=True)

    def _log(
        self, level: int, message: str, fields: dict[str, object], *, exc_info: bool = False
    ) -> None:
        extra = {"fields": fields}
        self._logger.log(level, message, extra=extra, exc_info=exc_info, stacklevel=3)


def get(name: str) -> Logger:
    """The logger of a module: ``logs.get(__name__)``."""
    return Logger(logging.getLogger(name))
