from __future__ import annotations

from typing import Any

import pytest

from spotalis.kube import decode
from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.objects import (
    HostPort,
    LabelSelector,
    PodShape,
    Requirement,
    Toleration,
)
from tests.support.api_objects import Json, a_pod, text


def shape(**spec: Any) -> PodShape:
    return decode.pod(text(a_pod(spec=spec))).shape


def asks(cpu: str = "0", memory: str = "0", **fields: Any) -> Json:
    requests = {"cpu": cpu, "memory": memory}
    return {"name": "c", "resources": {"requests": requests}, **fields}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "cpu_millis"),
    [
        ({"containers": [asks("250m"), asks("1")]}, 1250),
        ({"containers": [asks("1")], "initContainers": [asks("3"), asks("2")]}, 3000),
        ({"containers": [asks("4")], "initContainers": [asks("3")]}, 4000),
        ({"containers": [asks("1")], "initContainers": [asks("500m", **SIDECAR)]}, 1500),
        # The init container runs beside the sidecar that was started before it ...
        ({"containers": [asks("1")], "initContainers": [asks("1", **SIDECAR), asks("2")]}, 3000),
        # ... but not beside the one that comes after it.
        ({"containers": [asks("1")], "initContainers": [asks("2"), asks("1", **SIDECAR)]}, 2000),
        ({"containers": [asks("1")], "overhead": {"cpu": "100m"}}, 1100),
        (
            {
                "containers": [asks("1")],
                "resources": {"requests": {"cpu": "2"}},
                "overhead": {"cpu": "1"},
            },
            3000,
        ),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, 2000),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]}, 1000),
        ({"containers": [{"resources": {}}, {"resources": None}, {}]}, 0),
    ],
    ids=[
        "containers add up",
        "the largest init container counts if it is larger than all containers",
        "smaller init containers do not count",
        "sidecars add to the containers",
        "an init container adds to the sidecars before it",
        "an init container does not add to the sidecars after it",
        "overhead comes on top",
        "what is asked for the pod as a whole counts instead",
        "a limit without a request is a request",
        "a request beats a limit",
        "nothing asked for is nothing",
    ],
)
def test_requests_follow_the_schedulers_rule(spec: Json, cpu_millis: int) -> None:
    assert shape(**spec).cpu_millis == cpu_millis


def test_memory_and_extended_resources_are_counted() -> None:
    gpu = {"resources": {"requests": {"memory": "1Gi", "nvidia.com/gpu": "2", "a.io/b": "1"}}}
    counted = shape(containers=[gpu, {"resources": {"requests": {"nvidia.com/gpu": "0"}}}, gpu])
    assert counted.memory_bytes == 2 * 1024**3
    assert counted.other == (("a.io/b", 2), ("nvidia.com/gpu", 4))


def test_node_selector_affinity_and_tolerations_are_kept() -> None:
    terms = [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
        {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}
    pinned = shape(
        nodeSelector={"b": "2", "a": "1"},
        affinity={"nodeAffinity": {**required, **preferred}, "podAntiAffinity": {}},
        tolerations=[{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}, {"key": "k"}],
    )
    assert pinned.node_selector == (("a", "1"), ("b", "2"))
    assert pinned.node_terms == (
        (Requirement("zone", "In", ("a", "b")),),
        (Requirement("gpu", "Exists"),),
    )
    assert pinned.tolerations == (
        Toleration("spot", "Exists", "", "NoSchedule"),
        Toleration("k", "Equal", "", ""),
    )


def test_a_node_term_without_labels_matches_no_node_instead_of_every_node() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    terms = [{"matchExpressions": None}, {"matchFields": [field]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    for term in shape(affinity={"nodeAffinity": required}).node_terms:
        assert not all(requirement.matches({"any": "label"}) for requirement in term)


@pytest.mark.parametrize(
    "affinity", [None, {}, {"nodeAffinity": None}, {"nodeAffinity": {}}, {"podAffinity": {}}]
)
def test_absent_affinity_requires_nothing(affinity: Json | None) -> None:
    assert shape(affinity=affinity).node_terms == ()


def test_pods_of_one_template_share_one_shape() -> None:
    one = decode.pod(text(a_pod("one", spec={"containers": [asks("1")]})))
    two = decode.pod(text(a_pod("two", spec={"containers": [asks("1")]})))
    other = decode.pod(text(a_pod("three", spec={"containers": [asks("2")]})))
    assert one.shape is two.shape
    assert other.shape != one.shape


def test_a_sidecar_and_an_init_container_of_the_same_size_are_different_shapes() -> None:
    init = shape(containers=[asks("1")], initContainers=[asks("1")])
    sidecar = shape(containers=[asks("1")], initContainers=[asks("1", **SIDECAR)])
    assert (init.cpu_millis, sidecar.cpu_millis) == (1000, 2000)


def test_a_container_and_an_init_container_of_the_same_size_are_different_shapes() -> None:
    two = shape(containers=[asks("1"), asks("1")])
    one = shape(containers=[asks("1")], initContainers=[asks("1")])
    assert (two.cpu_millis, one.cpu_millis) == (2000, 1000)


def test_required_pod_anti_affinity_is_kept_and_preferred_is_not() -> None:
    labels = {"matchLabels": {"app": "api"}}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": labels}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term, {"topologyKey": "zone"}]}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term}]}
    app = LabelSelector((Requirement("app", "In", ("api",)),))
    found = shape(affinity={"podAntiAffinity": {**required, **preferred}})
    assert found.anti_affinity == (AntiAffinityTerm("kubernetes.io/hostname", app),)


@pytest.mark.parametrize(
    ("written", "concerned"),
    [
        pytest.param({}, ["own"], id="nothing is said"),
        pytest.param({"namespaces": [], "namespaceSelector": None}, ["own"], id="null"),
        pytest.param({"namespaces": ["tenant"]}, ["tenant"], id="another one is named"),
        pytest.param({"namespaceSelector": {}}, ["own", "tenant", "other"], id="all"),
        pytest.param(
            {"namespaceSelector": {"matchLabels": {"team": "a"}}}, ["tenant"], id="a selector"
        ),
        pytest.param(
            {"namespaces": ["own"], "namespaceSelector": {"matchLabels": {"team": "a"}}},
            ["own", "tenant"],
            id="both",
        ),
    ],
)
def test_an_anti_affinity_term_concerns_the_namespaces_that_it_names(
    written: Json, concerned: list[str]
) -> None:
    term = {"topologyKey": "zone", "labelSelector": {}, **written}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    (found,) = shape(affinity={"podAntiAffinity": required}).anti_affinity
    labels = {"own": {}, "tenant": {"team": "a"}, "other": {"team": "b"}}
    assert [name for name in labels if found.concerns(name, labels[name], "own")] == concerned


def ports(*ports: Json, **fields: Any) -> tuple[HostPort, ...]:
    return shape(containers=[{"ports": list(ports)}], **fields).host_ports


def test_host_ports_of_containers_and_sidecars_are_kept() -> None:
    written = {"containerPort": 80, "hostPort": 8080}
    assert ports(written) == (HostPort(8080),)
    assert ports({"containerPort": 80}) == ()
    assert ports({**written, "protocol": "UDP", "hostIP": "10.0.0.1"}) == (
        HostPort(8080, "UDP", "10.0.0.1"),
    )
    assert ports({**written, "hostIP": "0.0.0.0"}) == (HostPort(8080),)
    assert shape(initContainers=[{"ports": [written], **SIDECAR}]).host_ports == (HostPort(8080),)
    assert shape(initContainers=[{"ports": [written]}]).host_ports == ()


def test_in_the_network_of_the_host_every_port_is_a_host_port() -> None:
    assert ports({"containerPort": 80}, hostNetwork=True) == (HostPort(80),)


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        (HostPort(80), HostPort(80), True),
        (HostPort(80), HostPort(81), False),
        (HostPort(80), HostPort(80, "UDP"), False),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80), True),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80, "TCP", "10.0.0.1"), True),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80, "TCP", "10.0.0.2"), False),
    ],
)
def test_the_same_port_of_the_same_address_can_be_used_once(
    one: HostPort, other: HostPort, conflict: bool
) -> None:
    assert one.conflicts_with(other) is other.conflicts_with(one) is conflict


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
AVOID = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}


@pytest.mark.parametrize(
    ("spec", "unjudged"),
    [
        ({}, ""),
        ({"resourceClaims": []}, ""),
        ({"resourceClaims": [{"name": "gpu"}]}, "resource claims"),
        (
            {"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]},
            "topology spread constraints",
        ),
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}, ""),
        ({"affinity": {"podAffinity": {REQUIRED: [AVOID]}}}, "pod affinity"),
        ({"affinity": {"podAntiAffinity": {REQUIRED: [AVOID]}}}, ""),
        (
            {"affinity": {"podAntiAffinity": {REQUIRED: [{**AVOID, "namespaceSelector": {}}]}}},
            "anti-affinity across namespaces",
        ),
    ],
)
def test_constraints_that_no_field_holds_make_a_shape_unjudged(spec: Json, unjudged: str) -> None:
    assert shape(**spec).unjudged == unjudged


def test_a_pod_is_gated_as_long_as_it_has_a_gate() -> None:
    def gated(**spec: Any) -> bool:
        return decode.pod(text(a_pod(spec=spec))).gated

    assert gated(schedulingGates=[{"name": "quota"}])
    assert not gated(schedulingGates=[])
    assert not gated()
