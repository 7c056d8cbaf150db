"""Real Prometheus beside the real control plane; it scrapes the operator of the scenario."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from testbed.programs import PROMETHEUS
from tests.support.cluster import TestCluster
from tests.support.real_cluster import RealTestCluster
from tests.support.side_program import running_beside

CHART_FILES = Path(__file__).parents[2] / "charts" / "spotalis" / "files"
ALERTS = CHART_FILES / "alerts.yaml"


class Prometheus:
    """Answers of a running Prometheus."""

    def __init__(self, url: str, cluster: TestCluster) -> None:
        self._url = url
        self._cluster = cluster

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; each has ``metric`` and ``value``."""
        data = await self._ask("query?" + urllib.parse.urlencode({"query": expression}))
        return list(data["result"])

    async def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        data = await self._ask("alerts")
        alerts = data["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def wait_until_fires(self, alert: str) -> None:
        """Wait until an alert fires."""
        await self._wait(alert, fires=True)

    async def wait_until_resolved(self, alert: str) -> None:
        """Wait until an alert no longer fires."""
        await self._wait(alert, fires=False)

    async def _wait(self, alert: str, *, fires: bool) -> None:
        async def is_reached() -> bool:
            return (alert in await self.firing()) is fires

        async def found() -> str:
            return f"firing: {sorted(await self.firing())}"

        what = f"{alert} {'fires' if fires else 'is resolved'}"
        await self._cluster.wait_until(is_reached, what, instead=found)

    async def _ask(self, path: str) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=30) as answer:
                document: dict[str, Any] = json.load(answer)["data"]
                return document

        return await asyncio.to_thread(read)


def hasten(rules: str) -> str:
    """Alerts whose times are seconds instead of minutes, for a story of a minute or two.

    The API server sends a bookmark to each watch about once a minute.
    """
    rules = re.sub(r"for: \d+[mh]", "for: 2s", rules)
    rules = re.sub(r"\[\d+m\]", "[10s]", rules)
    return rules.replace("(spotalis_cache_age_seconds) > 120", "(spotalis_cache_age_seconds) > 75")


@asynccontextmanager
async def prometheus_beside(cluster: TestCluster) -> AsyncIterator[Prometheus]:
    """Run Prometheus during the block. It evaluates the hastened alerts every second."""
    assert isinstance(cluster, RealTestCluster)
    folder = cluster.plane.folder
    (folder / "alerts.yaml").write_text(hasten(ALERTS.read_text()))
    job = {
        "job_name": "spotalis",
        "honor_labels": True,
        # The Prometheus Operator adds these labels.
        "static_configs": [
            {"targets": [cluster.addresses[1]], "labels": {"namespace": "spotalis-system"}}
        ],
    }
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    arguments = [
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/tsdb",
        "--web.listen-address=127.0.0.1:{health}",
    ]
    async with running_beside(
        cluster.plane, PROMETHEUS, user="admin", ready_path="/-/ready", arguments=arguments
    ) as url:
        yield Prometheus(url, cluster)
