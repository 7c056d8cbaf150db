"""The made manifests are made from their parts, and say what code and pages say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.manifests import K8S, never_on_spot, rendered
from spotalis import __version__
from spotalis.model.nodes import BUILT_IN_GROUPS, NodeType
from spotalis.model.objects import Requirement
from spotalis.settings.declarations import SETTINGS
from spotalis.settings.options import Settings
from spotalis.settings.sources import Sources
from tests.delivery.rights import granted, in_every_run, in_reserve

INSTALLS = ("install.yaml", "install-cert-manager.yaml", "install-namespaced.yaml")
DESTRUCTIVE = {"delete", "deletecollection", "update", "patch", "*"}


def objects(name: str, kind: str) -> list[dict[str, Any]]:
    found = yaml.safe_load_all((K8S / name).read_text())
    return [one for one in found if one["kind"] == kind]


@pytest.fixture(params=INSTALLS)
def install(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pod(install: str) -> dict[str, Any]:
    [deployment] = objects(install, "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("name", rendered())
def test_the_made_files_are_up_to_date(name: str) -> None:
    assert (K8S / name).read_text() == rendered()[name], "run `make manifests`"


def test_every_installation_is_made() -> None:
    assert rendered().keys() - set(INSTALLS) == {"managed-namespace.yaml"}


def test_two_renderings_are_the_same_bytes() -> None:
    assert rendered() == rendered()


def test_the_operator_keeps_off_what_any_built_in_group_calls_spot(pod: dict[str, Any]) -> None:
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [term] = affinity["nodeSelectorTerms"]
    assert term["matchExpressions"] == never_on_spot()
    met = [
        Requirement(key=one["key"], operator=one["operator"], values=tuple(one.get("values", ())))
        for one in term["matchExpressions"]
    ]
    assert all(requirement.matches({}) for requirement in met)
    for group in BUILT_IN_GROUPS:
        for rule in group.rules:
            if rule.node_type is NodeType.SPOT:
                value = (*rule.requirement.values, "")[0]
                labels = {group.marker: "", rule.requirement.key: value}
                assert not all(requirement.matches(labels) for requirement in met), group.name


def test_the_settings_file_is_one_that_the_operator_takes(install: str, tmp_path: Path) -> None:
    [config] = objects(install, "ConfigMap")
    text = config["data"]["spotalis.yaml"]
    certificates = tmp_path / "tls"
    certificates.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (certificates / name).touch()
    file = tmp_path / "spotalis.yaml"
    file.write_text(text.replace("/etc/spotalis-tls", str(certificates)))
    loaded = Sources(file=file, environment={}, flags={}).load()
    if install == "install.yaml":
        assert loaded.settings == Settings()
    watched = {"shop"} if install == "install-namespaced.yaml" else set()
    assert loaded.settings.controller.namespaces.watched == watched


def test_every_variable_of_the_container_is_a_setting(pod: dict[str, Any]) -> None:
    variables = {setting.variable for setting in SETTINGS.values()}
    [container] = pod["containers"]
    assert {one["name"] for one in container["env"]} <= variables


def test_the_ports_are_those_of_the_settings(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    serving = Settings().serving
    assert ports == {
        "webhook": serving.webhook_port,
        "metrics": serving.metrics_port,
        "health": serving.health_port,
    }


def test_the_pod_has_no_right_on_its_node(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    security = pod["securityContext"] | container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 65532
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    kinds = {key for volume in pod["volumes"] for key in volume if key != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret"}


def test_the_operator_leaves_itself_alone(install: str) -> None:
    [deployment] = objects(install, "Deployment")
    assert deployment["metadata"]["labels"]["spotalis.io/enabled"] == "false"


def test_the_version_is_that_of_the_package(install: str) -> None:
    [deployment] = objects(install, "Deployment")
    template = deployment["spec"]["template"]
    [container] = template["spec"]["containers"]
    assert container["image"] == f"spotalis:{__version__}"
    for metadata in (deployment["metadata"], template["metadata"]):
        assert metadata["labels"]["app.kubernetes.io/version"] == __version__


def test_no_right_is_granted_that_the_page_does_not_explain() -> None:
    assert granted() == in_every_run() | in_reserve()
    assert in_every_run() & in_reserve() == set()


def test_the_only_destructive_right_in_the_cluster_is_to_ask_for_an_eviction() -> None:
    cluster_wide = [right for right in granted() if right[0] == "cluster"]
    writes = {(resource, verb) for _, _, resource, verb in cluster_wide if verb in DESTRUCTIVE}
    assert writes == {
        ("deployments/status", "patch"),
        ("mutatingwebhookconfigurations", "patch"),
    }
    assert {resource for _, _, resource, verb in cluster_wide if verb == "create"} == {
        "events",
        "pods/eviction",
    }


def rights(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group or "core", resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_with_rights_in_a_namespace_the_cluster_role_only_reads_nodes_and_namespaces() -> None:
    [role] = objects("install-namespaced.yaml", "ClusterRole")
    assert rights(role) == {
        ("core", "nodes", "list"),
        ("core", "nodes", "watch"),
        ("core", "namespaces", "get"),
        ("core", "namespaces", "list"),
        ("core", "namespaces", "watch"),
        ("core", "persistentvolumes", "get"),
        *(
            ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", verb)
            for verb in ("get", "watch", "patch")
        ),
    }
    [webhooks] = [rule for rule in role["rules"] if "patch" in rule["verbs"]]
    assert webhooks["resourceNames"] == ["spotalis"]


def test_the_rights_in_a_namespace_and_in_the_cluster_are_together_those_of_install() -> None:
    [everywhere] = objects("install.yaml", "ClusterRole")
    [cluster] = objects("install-namespaced.yaml", "ClusterRole")
    roles = objects("install-namespaced.yaml", "Role")
    [shop] = [role for role in roles if role["metadata"]["namespace"] == "shop"]
    assert rights(shop) | rights(cluster) == rights(everywhere)
    assert rights(shop) & rights(cluster) == set()


def test_the_only_binding_outside_its_own_namespace_is_in_the_managed_one() -> None:
    bindings = objects("install-namespaced.yaml", "RoleBinding")
    assert [
        (one["metadata"]["namespace"], one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in bindings
    ] == [("spotalis-system", "Role", "spotalis"), ("shop", "Role", "spotalis-managed")]
    account = {"kind": "ServiceAccount", "name": "spotalis", "namespace": "spotalis-system"}
    assert [one["subjects"] for one in bindings] == [[account]] * 2


def test_only_pods_of_the_managed_namespace_are_sent_for_review() -> None:
    [configuration] = objects("install-namespaced.yaml", "MutatingWebhookConfiguration")
    [webhook] = configuration["webhooks"]
    name = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop"]}
    assert webhook["namespaceSelector"] == {"matchExpressions": [name]}


@pytest.mark.parametrize("kind", ["Role", "RoleBinding"])
def test_a_further_namespace_gets_the_same_rights_by_a_file_that_names_none(kind: str) -> None:
    installed = objects("install-namespaced.yaml", kind)
    [shop] = [one for one in installed if one["metadata"].pop("namespace") == "shop"]
    assert objects("managed-namespace.yaml", kind) == [shop]


def test_with_cert_manager_no_secret_and_no_webhook_configuration_can_be_touched() -> None:
    roles = objects("install-cert-manager.yaml", "ClusterRole")
    roles += objects("install-cert-manager.yaml", "Role")
    reached = {r for role in roles for rule in role["rules"] for r in rule["resources"]}
    assert not {"secrets", "mutatingwebhookconfigurations"} & reached
    assert objects("install-cert-manager.yaml", "Secret") == []
    [webhook] = objects("install-cert-manager.yaml", "MutatingWebhookConfiguration")
    source = webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    namespace, _, name = source.partition("/")
    certificates = objects("install-cert-manager.yaml", "Certificate")
    [certificate] = [c for c in certificates if c["metadata"]["name"] == name]
    assert certificate["metadata"]["namespace"] == namespace
    service = webhook["webhooks"][0]["clientConfig"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" in certificate["spec"]["dnsNames"]
    [deployment] = objects("install-cert-manager.yaml", "Deployment")
    secrets = [v["secret"] for v in deployment["spec"]["template"]["spec"]["volumes"]
               if "secret" in v]  # fmt: skip
    assert [one["secretName"] for one in secrets] == [certificate["spec"]["secretName"]]
