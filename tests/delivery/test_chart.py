"""The Helm chart, rendered by the real Helm. test_manifests.py checks what it renders."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import chart, manifests
from scripts.chart_values import VALUES, Value
from scripts.manifests import K8S, RELEASE
from spotalis import __version__
from testbed.programs import HELM
from tests.support.control_plane import binaries_or_skip

ALL_VALUES = chart.CHART / "ci" / "all-values.yaml"
EFFECTIVE_WITH = {
    "certificates.secretName": "certificates.source=cert-manager",
    "certificates.caBundle": "certificates.secretName=own",
    "certificates.issuerRef": "certificates.source=cert-manager",
    "policyWarnings.action": "policyWarnings.enabled=true",
    "monitoring.interval": "monitoring.podMonitor.enabled=true",
    "monitoring.serviceMonitor.labels": "monitoring.serviceMonitor.enabled=true",
    "monitoring.podMonitor.labels": "monitoring.podMonitor.enabled=true",
    "monitoring.prometheusRule.labels": "monitoring.prometheusRule.enabled=true",
    "monitoring.prometheusRule.runbookUrl": "monitoring.prometheusRule.enabled=true",
    "monitoring.dashboards.labels": "monitoring.dashboards.enabled=true",
    "monitoring.dashboards.annotations": "monitoring.dashboards.enabled=true",
}
"""Values that have an effect only together with another one."""


@pytest.fixture(scope="module")
def helm() -> Path:
    return binaries_or_skip(HELM)["helm"]


def render(helm: Path, *flags: str) -> str:
    return run(helm, *RELEASE, *flags).stdout


def run(helm: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([helm, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def deployment(text: str) -> dict[str, Any]:
    [found] = [each for each in yaml.safe_load_all(text) if each["kind"] == "Deployment"]
    return dict(found)


def pod_annotations(text: str) -> dict[str, str]:
    return dict(deployment(text)["spec"]["template"]["metadata"]["annotations"])


@pytest.mark.parametrize("name", chart.rendered())
def test_generated_files_of_the_chart_are_up_to_date(name: str) -> None:
    assert (chart.CHART / name).read_text() == chart.rendered()[name], "run `make manifests`"


def test_the_manifests_are_rendered_from_the_chart(helm: Path) -> None:
    expected = manifests.rendered(helm)
    files = {str(path.relative_to(K8S)): path.read_text() for path in K8S.rglob("*.yaml")}
    del files["kustomization.yaml"]
    assert files.keys() == expected.keys()
    changed = [name for name, text in expected.items() if files[name] != text]
    assert changed == [], "run `make manifests`"


@pytest.mark.parametrize("flags", [(), ("-f", str(ALL_VALUES))], ids=["defaults", "all values"])
def test_helm_lints_the_chart_without_a_warning(helm: Path, flags: tuple[str, ...]) -> None:
    output = run(helm, "lint", "--strict", *RELEASE[2:3], *RELEASE[-2:], *flags).stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in output


def test_the_render_with_all_values_is_as_recorded(helm: Path) -> None:
    recorded = manifests.WITH_ALL_VALUES.read_text()
    assert manifests.with_all_values(helm) == recorded, "run `make manifests`"


def test_the_chart_contains_the_dashboards_and_alerts_unchanged(helm: Path) -> None:
    found = list(yaml.safe_load_all(render(helm, "-f", str(ALL_VALUES))))
    [rule] = [each for each in found if each["kind"] == "PrometheusRule"]
    base = "https://docs.example/alerts"
    alerts = (
        (chart.CHART / "files" / "alerts.yaml").read_text().replace("docs/alerts/S", f"{base}/S")
    )
    assert rule["spec"] == yaml.safe_load(alerts)
    data = [each["data"] for each in found if each["metadata"]["name"].startswith("spotalis-dash")]
    files = sorted((chart.CHART / "files" / "dashboards").glob("*.json"))
    assert [json.loads(text) for each in data for text in each.values()] == [
        json.loads(file.read_text()) for file in files
    ]


def test_two_renders_give_the_same_bytes(helm: Path) -> None:
    assert render(helm) == render(helm)
    assert manifests.rendered(helm) == manifests.rendered(helm)


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("imagee=1", "at '': additional properties 'imagee' not allowed"),
        ("image.tagg=1", "at '/image': additional properties 'tagg' not allowed"),
        ("settings.readonly=true", "at '/settings': additional properties 'readonly' not allowed"),
        ("settings.namespace=other", "additional properties 'namespace' not allowed"),
        (
            "settings.storm.minNode=2",
            "at '/settings/storm': additional properties 'minNode' not allowed",
        ),
        ("settings.resync=3", "at '/settings/resync': got number, want string"),
        ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
        ("certificates.source=none", "at '/certificates/source': value must be one of"),
        ("certificates.source=secret", "at '/certificates/secretName': minLength: got 0, want 1"),
        (
            "monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true",
            "at '/monitoring/podMonitor/enabled': value must be false",
        ),
    ],
)
def test_helm_rejects_a_wrong_value_and_names_it(helm: Path, setting: str, error: str) -> None:
    done = subprocess.run(
        [helm, *RELEASE, "--set", setting], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert error in done.stderr


def test_a_changed_setting_restarts_the_pods_and_nothing_else_does(helm: Path) -> None:
    before = pod_annotations(render(helm))
    assert list(before) == ["checksum/settings"]
    assert pod_annotations(render(helm, "--set", "settings.readOnly=true")) != before
    assert pod_annotations(render(helm, "--set", "networkPolicy.enabled=false")) == before


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.key)
def test_every_value_changes_the_render(helm: Path, value: Value, tmp_path: Path) -> None:
    changed: Any = yaml.safe_load(ALL_VALUES.read_text())
    for name in value.key.split("."):
        changed = changed[name]
    if changed == value.default:
        changed = not changed
    for name in reversed(value.key.split(".")):
        changed = {name: changed}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(changed))
    with_it = EFFECTIVE_WITH.get(value.key)
    context = ("--set", with_it) if with_it else ()
    assert render(helm, *context, "-f", str(file)) != render(helm, *context)


def test_the_labels_are_those_that_helm_and_kubernetes_recommend(helm: Path) -> None:
    for each in yaml.safe_load_all(render(helm)):
        assert each["metadata"]["labels"].keys() >= {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/version",
            "app.kubernetes.io/managed-by",
            "helm.sh/chart",
        }


def test_the_chart_has_the_version_of_the_package() -> None:
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (__version__, __version__)
