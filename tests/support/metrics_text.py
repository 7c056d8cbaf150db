"""Parse metrics with prometheus_client, which the servers do not use for writing them."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families


def families_of_text(text: str) -> list[Metric]:
    """Parse the Prometheus text format 0.0.4."""
    return list(text_string_to_metric_families(text))


def families_of_open_metrics(text: str) -> list[Metric]:
    """Parse OpenMetrics 1.0, which is strict about order, numbers and the end."""
    parsed = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return list(parsed)
