"""The values of all settings, with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from spotalis.model.controller_configuration import ControllerConfiguration

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOptions:
    """Where the process listens, and the certificate of the webhook."""

    host: str = ""
    webhook_port: int = 9443
    metrics_port: int = 8080
    health_port: int = 8081
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    advertise_address: str = ""
    client_ca_file: Path | None = None
    client_name: str = ""
    configuration_name: str = "spotalis"
    service_name: str = "spotalis-webhook"
    secret_name: str = "spotalis-webhook-tls"  # noqa: S105  # a name, not a credential
    duration: timedelta = timedelta(days=90)
    ca_duration: timedelta = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What is logged, and in which format."""

    level: str = "info"
    levels: Mapping[str, str] = field(default_factory=dict)
    format: str = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of all settings."""

    controller: ControllerConfiguration = field(default_factory=ControllerConfiguration)
    serving: ServingOptions = ServingOptions()
    logging: LogOptions = field(default_factory=LogOptions)


def build(values: Mapping[str, Any]) -> Settings:
    """The settings with the given values, by the path of their field, and defaults for the rest."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *outer, name = path.split(".")
        branch = tree
        for part in outer:
            branch = branch.setdefault(part, {})
        branch[name] = value
    return _construct(Settings, tree)


def _construct(cls: Callable[..., T], tree: Mapping[str, Any]) -> T:
    arguments = {}
    for name, value in tree.items():
        default = default_of(cls, name)  # type: ignore[arg-type]  # a dataclass
        is_branch = isinstance(value, dict) and is_dataclass(default)
        arguments[name] = _construct(type(default), value) if is_branch else value
    return cls(**arguments)


def default_of(cls: type, path: str) -> object:
    """The default of a field, or of a field of its value; empty for an entry of a mapping."""
    name, _, rest = path.partition(".")
    [found] = [f for f in fields(cls) if f.name == name]
    value = found.default if found.default_factory is MISSING else found.default_factory()
    if not rest:
        return value
    return default_of(type(value), rest) if is_dataclass(value) else ""
