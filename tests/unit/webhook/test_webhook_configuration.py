"""The manifest in build/k8s is the configuration that the code expects."""

from __future__ import annotations

from pathlib import Path

import yaml

from spotalis.webhook.webhook_configuration import webhook_configuration

MANIFEST = Path(__file__).parents[3] / "build" / "k8s" / "webhook.yaml"


def test_the_manifest_equals_the_configuration_in_the_code() -> None:
    service = {
        "namespace": "spotalis-system",
        "name": "spotalis-webhook",
        "path": "/mutate",
        "port": 443,
    }
    expected = webhook_configuration(
        name="spotalis",
        client_config={"service": service},
        excluded=["kube-system", "spotalis-system"],
    )
    found = yaml.safe_load(MANIFEST.read_text())
    assert found["metadata"]["name"] == "spotalis"
    assert found["webhooks"] == expected["webhooks"]
