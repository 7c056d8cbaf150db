"""Copies of JSON values."""

from __future__ import annotations

from typing import Any


def deep_copy(value: Any) -> Any:
    """Copy a JSON value deeply; several times faster than ``copy.deepcopy``."""
    if type(value) is dict:
        return {
            key: deep_copy(item) if type(item) in _CONTAINERS else item
            for key, item in value.items()
        }
    if type(value) is list:
        return [deep_copy(item) if type(item) in _CONTAINERS else item for item in value]
    return value


_CONTAINERS = (dict, list)
