"""promtool evaluates each alert over series of figures: when it fires, and when it does not."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.programs import PROMETHEUS
from tests.support.control_plane import binaries_or_skip
from tests.support.prometheus import ALERTS

PAGES = ALERTS.parents[3] / "docs" / "alerts"
_OWN = 'job="spotalis",namespace="spotalis-system"'
_API = 'job="spotalis",namespace="shop",workload="api",workload_type="deployment"'
_REPLICAS = f"spotalis_workload_replicas{{{_API}"
_STATUS = f"spotalis_workload_status{{{_API}"
_REQUESTS = f'spotalis_webhook_requests_total{{{_OWN},operation="create"'
_BUCKET = f"spotalis_webhook_request_duration_seconds_bucket{{{_OWN}"
_EXPIRY = f"spotalis_webhook_certificate_expiry_timestamp_seconds{{{_OWN}}}"
_DAY = 86_400


@dataclass(frozen=True)
class Story:
    """Figures by minute, in the notation of promtool, and since which minute the alert fires."""

    alert: str
    figures: dict[str, str]
    fires_at: int | None
    until: int = 0
    """The last minute at which it does not fire; the minute before it fires by default."""


def _fires(alert: str, at: int, **figures: str) -> Story:
    return Story(alert, figures, at)


def _is_quiet(alert: str, **figures: str) -> Story:
    return Story(alert, figures, None, until=180)


FIRING = [
    _fires("SpotalisDown", 13, **{f"spotalis_build_info{{{_OWN}}}": "1x2 stale"}),
    _fires("SpotalisNoLeader", 5, **{f'spotalis_leader_election_status{{{_OWN},pod="a"}}': "0x60"}),
    _fires(
        "SpotalisOnDemandReplicasMissing",
        15,
        **{
            f'{_REPLICAS},capacity_type="on-demand",state="ready"}}': "1x60",
            f'{_REPLICAS},capacity_type="on-demand",state="desired"}}': "2x60",
        },
    ),
    _fires("SpotalisWebhookNotCalled", 5, **{f'{_STATUS},reason="WebhookNeverCalled"}}': "1x60"}),
    _fires(
        "SpotalisWebhookErrors",
        11,
        **{
            f'{_REQUESTS},result="answered"}}': "0+98x60",
            f'{_REQUESTS},result="internal_error"}}': "0+2x60",
        },
    ),
    _fires(
        "SpotalisWebhookSlow",
        11,
        **{
            f'{_BUCKET},le="0.5"}}': "0+98x60",
            f'{_BUCKET},le="1.0"}}': "0+100x60",
            f'{_BUCKET},le="+Inf"}}': "0+100x60",
        },
    ),
    _fires("SpotalisCertificateExpiring", 60, **{_EXPIRY: f"{13 * _DAY}x90"}),
    _fires("SpotalisCertificateExpiring", 60, **{_EXPIRY: "0x90"}),
    _fires(
        "SpotalisCacheStale",
        2,
        **{f'spotalis_cache_age_seconds{{{_OWN},instance="a",resource="pods"}}': "121x60"},
    ),
    _fires(
        "SpotalisReconcileErrors",
        16,
        **{f'spotalis_reconciliation_errors_total{{{_OWN},error_type="Forbidden"}}': "0+1x60"},
    ),
    _fires("SpotalisWorkloadOffTarget", 60, **{f'{_STATUS},reason="BlockedByPDB"}}': "1x90"}),
    _fires(
        "SpotalisWorkloadOffTarget",
        60,
        **{
            f'{_STATUS},reason="MovesInFlight"}}': "1x30 0x60",
            f'{_STATUS},reason="Futile"}}': "0x29 1x60",
        },
    ),
    _fires("SpotalisSpotUnavailable", 30, **{f"spotalis_fallback_replicas{{{_OWN}}}": "1x60"}),
    _fires("SpotalisPolicyInvalid", 15, **{f'{_STATUS},reason="InvalidPolicy"}}': "1x60"}),
    _fires("SpotalisPolicyInvalid", 15, **{f'{_STATUS},reason="NoPolicy"}}': "1x60"}),
]
QUIET = [
    _is_quiet("SpotalisDown", **{f"spotalis_build_info{{{_OWN}}}": "1x200"}),
    _is_quiet(
        "SpotalisNoLeader",
        **{
            f'spotalis_leader_election_status{{{_OWN},pod="a"}}': "0x200",
            f'spotalis_leader_election_status{{{_OWN},pod="b"}}': "1x200",
        },
    ),
    _is_quiet(
        "SpotalisOnDemandReplicasMissing",
        **{
            f'{_REPLICAS},capacity_type="on-demand",state="ready"}}': "1x200",
            f'{_REPLICAS},capacity_type="on-demand",state="desired"}}': "2x200",
            f'{_STATUS},reason="Paused"}}': "1x200",
        },
    ),
    _is_quiet(
        "SpotalisWebhookErrors",
        **{
            f'{_REQUESTS},result="answered"}}': "0+1000x200",
            f'{_REQUESTS},result="internal_error"}}': "0+10x200",
        },
    ),
    _is_quiet("SpotalisCertificateExpiring", **{_EXPIRY: f"{15 * _DAY}x200"}),
    _is_quiet("SpotalisWorkloadOffTarget", **{f'{_STATUS},reason="Paused"}}': "1x200"}),
    _is_quiet("SpotalisSpotUnavailable", **{f"spotalis_fallback_replicas{{{_OWN}}}": "0x200"}),
]


def _test(story: Story) -> dict[str, Any]:
    """A test of promtool. promtool compares all labels: a query about names only does not."""

    def at(minute: int, *, fires: bool) -> dict[str, Any]:
        firing = f'ALERTS{{alertname="{story.alert}",alertstate="firing"}}'
        samples = [{"labels": "{}", "value": 1}] if fires else []
        return {"expr": f"count({firing})", "eval_time": f"{minute}m", "exp_samples": samples}

    quiet_until = story.until if story.fires_at is None else story.fires_at - 1
    expected = [at(quiet_until, fires=False)]
    if story.fires_at is not None:
        expected.append(at(story.fires_at, fires=True))
    return {
        "name": story.alert,
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in story.figures.items()],
        "promql_expr_test": expected,
    }


@pytest.fixture(scope="module")
def promtool() -> Path:
    return binaries_or_skip(PROMETHEUS)["promtool"]


def test_each_alert_fires_when_its_figures_last_and_not_before(
    promtool: Path, tmp_path: Path
) -> None:
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [_test(story) for story in (*FIRING, *QUIET)],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(document))
    ran = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtool_finds_nothing_to_improve_in_the_alerts(promtool: Path) -> None:
    ran = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", ALERTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def test_each_alert_has_a_story_in_which_it_fires() -> None:
    assert {rule["alert"] for rule in _rules()} == {story.alert for story in FIRING}


def test_each_alert_has_a_severity_and_a_page() -> None:
    for rule in _rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        page = PAGES / f"{rule['alert']}.md"
        assert rule["annotations"]["runbook_url"] == f"docs/alerts/{page.name}"
        headings = [line for line in page.read_text().splitlines() if line.startswith("#")]
        expected = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
        assert headings == [f"# {rule['alert']}", *(f"## {heading}" for heading in expected)]
    assert len(list(PAGES.glob("*.md"))) == len(_rules())
