"""The values of all settings, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from spotalis.model.controller_configuration import ControllerConfiguration

if TYPE_CHECKING:
    from pathlib import Path


class ServingOptions(msgspec.Struct, frozen=True, kw_only=True):
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


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and in which format."""

    level: str = "info"
    levels: Mapping[str, str] = {}
    format: str = "json"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The values of all settings."""

    controller: ControllerConfiguration = msgspec.field(default_factory=ControllerConfiguration)
    serving: ServingOptions = ServingOptions()
    logging: LogOptions = LogOptions()
