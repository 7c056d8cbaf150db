"""The manifests agree with the code and the documentation.

test_chart.py checks that they are rendered from the chart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.manifests import K8S, OPTIONAL, never_on_spot
from scripts.policy_warnings import FILE, policy_warnings
from spotalis import __version__
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Requirement
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from spotalis.settings.declarations import SETTINGS
from spotalis.settings.options import Settings
from spotalis.settings.sources import Sources
from tests.delivery.permissions import documented_as_reserve, documented_as_used, granted

INSTALLS = ("install.yaml", "install-cert-manager.yaml", "install-namespaced.yaml")
DESTRUCTIVE = {"delete", "deletecollection", "update", "patch", "*"}


def objects(name: str, kind: str) -> list[dict[str, Any]]:
    found = yaml.safe_load_all((K8S / name).read_text())
    return [each for each in found if each["kind"] == kind]


@pytest.fixture(params=INSTALLS)
def install(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pod(install: str) -> dict[str, Any]:
    [deployment] = objects(install, "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_the_operator_avoids_spot_nodes_of_every_built_in_group(pod: dict[str, Any]) -> None:
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [term] = affinity["nodeSelectorTerms"]
    assert term["matchExpressions"] == never_on_spot()
    requirements = [
        Requirement(
            key=each["key"], operator=each["operator"], values=tuple(each.get("values", ()))
        )
        for each in term["matchExpressions"]
    ]
    assert all(requirement.matches({}) for requirement in requirements)
    for group in BUILT_IN_GROUPS:
        for rule in group.rules:
            if rule.node_type is NodeType.SPOT:
                value = (*rule.requirement.values, "")[0]
                labels = {group.marker: "", rule.requirement.key: value}
                assert not all(requirement.matches(labels) for requirement in requirements), (
                    group.name
                )


def test_the_operator_accepts_the_settings_file(install: str, tmp_path: Path) -> None:
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


def test_every_environment_variable_of_the_container_is_a_setting(pod: dict[str, Any]) -> None:
    known = {setting.variable for setting in SETTINGS.values()}
    [container] = pod["containers"]
    assert {variable["name"] for variable in container["env"]} <= known


def test_container_ports_match_the_default_settings(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    serving = Settings().serving
    assert ports == {
        "webhook": serving.webhook_port,
        "metrics": serving.metrics_port,
        "health": serving.health_port,
    }


def test_the_pod_has_no_privileges_on_its_node(pod: dict[str, Any]) -> None:
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


def test_the_operator_does_not_manage_itself(install: str) -> None:
    [deployment] = objects(install, "Deployment")
    assert deployment["metadata"]["labels"]["spotalis.io/enabled"] == "false"


def test_image_and_labels_have_the_version_of_the_package(install: str) -> None:
    [deployment] = objects(install, "Deployment")
    template = deployment["spec"]["template"]
    [container] = template["spec"]["containers"]
    assert container["image"] == f"spotalis:{__version__}"
    for metadata in (deployment["metadata"], template["metadata"]):
        assert metadata["labels"]["app.kubernetes.io/version"] == __version__


def test_exactly_the_granted_permissions_are_documented() -> None:
    assert granted() == documented_as_used() | documented_as_reserve()
    assert documented_as_used() & documented_as_reserve() == set()


def test_the_only_destructive_cluster_permission_is_to_create_evictions() -> None:
    cluster_wide = [permission for permission in granted() if permission[0] == "cluster"]
    writes = {(resource, verb) for _, _, resource, verb in cluster_wide if verb in DESTRUCTIVE}
    assert writes == {
        ("deployments/status", "patch"),
        ("events", "patch"),
        ("mutatingwebhookconfigurations", "patch"),
    }
    assert {resource for _, _, resource, verb in cluster_wide if verb == "create"} == {
        "events",
        "pods/eviction",
    }


def permissions(*roles: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group or "core", resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_namespaced_installation_has_cluster_permissions_only_for_cluster_resources() -> None:
    roles = objects("install-namespaced.yaml", "ClusterRole")
    assert permissions(*roles) == {
        ("core", "nodes", "list"),
        ("core", "nodes", "watch"),
        ("core", "namespaces", "list"),
        ("core", "namespaces", "watch"),
        ("core", "persistentvolumes", "get"),
        ("karpenter.sh", "nodepools", "list"),
        *(
            ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", verb)
            for verb in ("get", "list", "watch", "patch")
        ),
    }
    [webhooks] = [rule for role in roles for rule in role["rules"] if "patch" in rule["verbs"]]
    assert webhooks["resourceNames"] == ["spotalis"]


def test_the_namespaced_installation_has_the_same_permissions_in_total() -> None:
    everywhere = objects("install.yaml", "ClusterRole")
    cluster = objects("install-namespaced.yaml", "ClusterRole")
    roles = objects("install-namespaced.yaml", "Role")
    shop = [role for role in roles if role["metadata"]["namespace"] == "shop"]
    assert permissions(*shop) | permissions(*cluster) == permissions(*everywhere)
    assert permissions(*shop) & permissions(*cluster) == set()


def test_all_foreign_role_bindings_are_in_the_managed_namespace() -> None:
    bindings = objects("install-namespaced.yaml", "RoleBinding")
    assert {each["metadata"]["namespace"] for each in bindings} == {"spotalis-system", "shop"}
    assert {each["roleRef"]["name"] for each in bindings} == {
        "spotalis", "spotalis-managed",
        *(f"spotalis-{name}-managed" for name in OPTIONAL if name != "node-pools"),
    }  # fmt: skip
    account = {"kind": "ServiceAccount", "name": "spotalis", "namespace": "spotalis-system"}
    assert [binding["subjects"] for binding in bindings] == [[account]] * len(bindings)


def test_the_webhook_receives_only_pods_of_the_managed_namespace() -> None:
    [configuration] = objects("install-namespaced.yaml", "MutatingWebhookConfiguration")
    [webhook] = configuration["webhooks"]
    name = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop"]}
    assert webhook["namespaceSelector"] == {"matchExpressions": [name]}


@pytest.mark.parametrize("kind", ["Role", "RoleBinding"])
def test_managed_namespace_yaml_grants_the_same_permissions_without_a_namespace(kind: str) -> None:
    installed = objects("install-namespaced.yaml", kind)
    shop = [each for each in installed if each["metadata"].pop("namespace") == "shop"]
    assert objects("managed-namespace.yaml", kind) == shop


def test_with_cert_manager_there_is_no_access_to_secrets_and_webhook_configurations() -> None:
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
    assert [secret["secretName"] for secret in secrets] == [certificate["spec"]["secretName"]]


def test_each_object_of_an_optional_file_has_the_label_with_its_name() -> None:
    for file in (K8S / "optional").glob("*.yaml"):
        for each in yaml.safe_load_all(file.read_text()):
            if each["kind"] != "NetworkPolicy":
                assert each["metadata"]["labels"]["spotalis.io/optional"] == file.stem


def test_the_page_of_optional_permissions_lists_exactly_the_files() -> None:
    page = (K8S.parents[1] / "docs" / "install" / "optional-permissions.md").read_text()
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert listed == {file.name for file in (K8S / "optional").iterdir()}


def policies() -> list[dict[str, Any]]:
    """The policies that limit the operator, and their bindings."""
    files = [K8S / "admission-policy.yaml", *(K8S / "optional").glob("*.yaml")]
    files.remove(K8S / "optional" / "policy-warnings.yaml")  # it concerns owners of workloads
    files.remove(K8S / "optional" / "rescue.yaml")  # it concerns the account of the CronJob
    found = [each for file in files for each in yaml.safe_load_all(file.read_text())]
    return [each for each in found if each["kind"].startswith("ValidatingAdmissionPolicy")]


def test_each_policy_concerns_only_the_service_account_and_has_a_binding_that_denies() -> None:
    account = "request.userInfo.username == 'system:serviceaccount:spotalis-system:spotalis'"
    bound = []
    for each in policies():
        spec = each["spec"]
        if each["kind"].endswith("Binding"):
            assert spec["validationActions"] == ["Deny"]
            bound.append(spec["policyName"])
        else:
            assert [each["expression"] for each in spec["matchConditions"]] == [account]
            assert spec["failurePolicy"] == "Fail"
    names = [p["metadata"]["name"] for p in policies() if not p["kind"].endswith("Binding")]
    assert sorted(bound) == sorted(names)


def test_the_warnings_about_policies_are_made_from_the_descriptions_of_the_keys() -> None:
    assert FILE.read_text() == policy_warnings(), "run `make manifests`"
