"""The settings of the operator in the cluster, so that commands decide as it does."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import msgspec

from spotalis.cli.output import tell
from spotalis.kube.client import Client
from spotalis.kube.resources import LEDGERS
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.settings.sources import Sources
from spotalis.settings.value_types import InvalidSettings

CONFIG_MAP, FILE = "spotalis-settings", "spotalis.yaml"
"""The ConfigMap of the manifests, and its key."""


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


async def read_settings(arguments: argparse.Namespace, client: Client) -> ControllerConfiguration:
    """The settings in the operator's ConfigMap; the defaults if there is none.

    Flags and environment variables of the operator's container are not seen.

    Raises:
        TransportError: the API server did not answer.
    """
    namespace = arguments.operator_namespace
    name = f"configmap/{CONFIG_MAP}"
    response = await client.raw("GET", LEDGERS.path(namespace, CONFIG_MAP))
    settings = ControllerConfiguration()
    if response.status == 200:
        text = (msgspec.json.decode(response.body, type=_ConfigMap).data or {}).get(FILE, "")
        sources = Sources(file=Path(name), content=text.encode(), environment={}, flags={})
        try:
            settings = sources.load().settings.controller
        except InvalidSettings as error:
            tell(f"note: {name} of the operator is invalid; its defaults are used: {error}")
    elif response.status == 403:
        tell(f"note: you may not read {name} in {namespace}: the operator's defaults are used")
    return dataclasses.replace(settings, namespace=namespace, identity="cli")
