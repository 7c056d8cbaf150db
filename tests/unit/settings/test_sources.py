"""Settings from a file, environment variables and flags: precedence and validation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.nodes import NodeType
from spotalis.model.objects import Requirement, Toleration
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from spotalis.settings.declarations import SETTINGS
from spotalis.settings.options import Settings
from spotalis.settings.sources import DEFAULT, Loaded, Sources
from spotalis.settings.value_types import InvalidSettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spotalis.yaml"


def load(
    text: str = "",
    variables: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    file: Path,
) -> Loaded:
    file.write_text(text)
    return Sources(file=file, environment=variables or {}, flags=flags or {}).load()


def problems_of(
    text: str = "",
    variables: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    file: Path,
) -> list[str]:
    """The reported problems, with the name of the file in place of its path."""
    with pytest.raises(InvalidSettings) as caught:
        load(text, variables, flags, file=file)
    return [str(problem).replace(str(file), file.name) for problem in caught.value.problems]


def test_without_sources_every_value_is_the_default(file: Path) -> None:
    loaded = load(file=file)
    assert loaded.settings == Settings()
    assert list(loaded.effective) == list(SETTINGS)
    assert {one.source for one in loaded.effective.values()} == {DEFAULT}


def test_a_variable_overrides_the_file_and_a_flag_overrides_both(file: Path) -> None:
    text = "resync: 10s\ncooldown: 20s\nmaxMovesInFlight: 30\n"
    variables = {"SPOTALIS_COOLDOWN": "21s", "SPOTALIS_MAX_MOVES_IN_FLIGHT": "31"}
    loaded = load(text, variables, {"maxMovesInFlight": "32"}, file=file)
    controller = loaded.settings.controller
    assert controller.resync == timedelta(seconds=10)
    assert controller.cooldown == timedelta(seconds=21)
    assert controller.max_moves_in_flight == 32
    sources = {
        path: loaded.effective[path].source for path in ("resync", "cooldown", "maxMovesInFlight")
    }
    assert sources == {
        "resync": f"{file}:1",
        "cooldown": "$SPOTALIS_COOLDOWN",
        "maxMovesInFlight": "--max-moves-in-flight",
    }


def test_every_setting_has_a_variable_and_a_flag_of_its_own() -> None:
    settings = SETTINGS.values()
    assert len({setting.variable for setting in settings}) == len(settings)
    assert len({setting.flag for setting in settings}) == len(settings)


def test_variable_and_flag_follow_from_the_key() -> None:
    setting = SETTINGS["leaderElection.leaseDuration"]
    assert setting.variable == "SPOTALIS_LEADER_ELECTION_LEASE_DURATION"
    assert setting.flag == "leader-election-lease-duration"


FULL = """
namespaceSelector:
  matchLabels: {team: shop}
  matchExpressions:
    - {key: frozen, operator: DoesNotExist}
excludedNamespaces: [monitoring, monitoring]
defaults:
  spot-percentage: 50
  min-on-demand: "2"
  disruption-schedule: 0 2 * * 1-5
  disruption-duration: 4h
  paused-until: 2026-03-01T18:00:00Z
nodeGroups:
  - eks
  - name: gke
    marker: example.com/pool
    rules:
      - {capacityType: spot, key: example.com/pool, values: [cheap, "on"]}
      - {capacityType: on-demand, key: example.com/paid, exists: true}
      - {capacityType: spot, key: example.com/paid, absent: true}
    spotTolerations:
      - {key: cheap, operator: Exists}
spotTolerations:
  - {key: gpu, value: "true", effect: NoSchedule}
logging:
  levels: {spotalis.kube: debug}
serving:
"""


def test_lists_and_mappings_become_values_of_the_model(file: Path) -> None:
    settings = load(FULL, file=file).settings
    controller = settings.controller
    assert controller.namespaces.selector.requirements == (
        Requirement(key="team", operator="In", values=("shop",)),
        Requirement(key="frozen", operator="DoesNotExist"),
    )
    assert controller.namespaces.excluded == {"monitoring", "kube-system", "spotalis-system"}
    assert controller.defaults == {
        "spot-percentage": "50",
        "min-on-demand": "2",
        "disruption-schedule": "0 2 * * 1-5",
        "disruption-duration": "4h",
        "paused-until": "2026-03-01T18:00:00Z",
    }
    eks, own = controller.node_groups
    assert eks == next(group for group in BUILT_IN_GROUPS if group.name == "eks")
    assert [rule.node_type for rule in own.rules] == ["spot", "on-demand", "spot"]
    assert [rule.requirement.operator for rule in own.rules] == ["In", "Exists", "DoesNotExist"]
    assert own.rules[0].requirement.values == ("cheap", "on")
    assert own.spot_tolerations == (Toleration(key="cheap", operator="Exists"),)
    assert settings.logging.levels == {"spotalis.kube": "debug"}


def test_configured_node_groups_come_first_and_replace_built_in_ones_of_the_same_name(
    file: Path,
) -> None:
    classification = load(FULL, file=file).settings.controller.classification
    names = [group.name for group in classification.groups]
    assert names[:2] == ["eks", "gke"]
    assert sorted(names) == sorted(group.name for group in BUILT_IN_GROUPS)
    assert classification.named == {"eks", "gke"}
    assert classification.classify({"example.com/pool": "cheap"}) is NodeType.SPOT
    assert classification.classify({"cloud.google.com/gke-nodepool": "p"}) is NodeType.UNKNOWN
    assert classification.extra_spot_tolerations == (
        Toleration(key="gpu", value="true", effect="NoSchedule"),
    )


def test_without_built_in_groups_only_configured_ones_are_used(file: Path) -> None:
    text = "builtInNodeGroups: false\nnodeGroups: [karpenter]"
    groups = load(text, file=file).settings.controller.classification.groups
    assert [group.name for group in groups] == ["karpenter"]


def test_a_variable_takes_yaml_or_comma_separated_words(file: Path) -> None:
    variables = {
        "SPOTALIS_EXCLUDED_NAMESPACES": "a, b",
        "SPOTALIS_NAMESPACE_SELECTOR": "{matchLabels: {team: shop}}",
    }
    flags = {"logging.levels": "{spotalis.kube: debug}"}
    settings = load("", variables, flags, file=file).settings
    assert settings.controller.namespaces.excluded >= {"a", "b"}
    assert settings.controller.namespaces.selector.matches({"team": "shop"})
    assert settings.logging.levels == {"spotalis.kube": "debug"}
    same = load("", {"SPOTALIS_EXCLUDED_NAMESPACES": "[a, b]"}, file=file).settings
    listed = load("excludedNamespaces: [a, b]", file=file).settings
    assert same.controller.namespaces == listed.controller.namespaces


def test_empty_variables_and_kubernetes_service_links_are_ignored(file: Path) -> None:
    variables = {
        "SPOTALIS_WEBHOOK_SERVICE_HOST": "10.0.0.1",
        "SPOTALIS_WEBHOOK_SERVICE_PORT": "443",
        "SPOTALIS_WEBHOOK_SERVICE_PORT_HTTPS": "443",
        "SPOTALIS_WEBHOOK_PORT": "tcp://10.0.0.1:443",
        "SPOTALIS_WEBHOOK_PORT_443_TCP": "tcp://10.0.0.1:443",
        "SPOTALIS_WEBHOOK_PORT_443_TCP_ADDR": "10.0.0.1",
        "SPOTALIS_PORT": "tcp://10.0.0.1:443",
        "SPOTALIS_CONFIG": "spotalis.yaml",
        "SPOTALIS_RESYNC": "",
        "PATH": "/bin",
    }
    assert load("", variables, file=file).settings == Settings()


def service_links(
    service: str, address: str, ports: Mapping[str, tuple[str, int]]
) -> dict[str, str]:
    """The variables of a Service, as kubernetes/pkg/kubelet/envvars/envvars.go makes them."""
    prefix = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    made = {f"{prefix}_SERVICE_HOST": address}
    for position, (name, (protocol, port)) in enumerate(ports.items()):
        link = f"{prefix}_PORT_{port}_{protocol}"
        url = f"{protocol.lower()}://{host}:{port}"
        if position == 0:
            made |= {f"{prefix}_SERVICE_PORT": str(port), f"{prefix}_PORT": url}
        if name:
            made[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(port)
        made |= {link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": str(port)}
        made[f"{link}_ADDR"] = address
    return made


WORDS = sorted({w for s in SETTINGS.values() for w in s.variable.lower().split("_")} | {"x", "443"})


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=4),
    address=st.sampled_from(("10.0.0.1", "fd00::1")),
    ports=st.dictionaries(
        st.sampled_from(("", "https", "web-hook", "port", "metrics-port")),
        st.tuples(st.sampled_from(("TCP", "UDP", "SCTP")), st.integers(1, 65535)),
        min_size=1,
    ),
)
def test_the_service_links_of_any_service_are_ignored(
    words: list[str], address: str, ports: dict[str, tuple[str, int]]
) -> None:
    variables = service_links("-".join(("spotalis", *words)), address, ports)
    assert Sources(environment=variables, flags={}).load().settings == Settings()


@pytest.mark.parametrize(
    "key", ["serving.webhookPort", "serving.metricsPort", "serving.healthPort"]
)
@pytest.mark.parametrize("url", ["tcp://10.0.0.1:443", "tcp://[fd00::1]:443", "udp://10.0.0.1:53"])
def test_a_service_link_with_the_name_of_a_setting_is_ignored(key: str, url: str) -> None:
    variable = SETTINGS[key].variable
    loaded = Sources(environment={variable: url}, flags={}).load()
    assert loaded.effective[key].source == DEFAULT
    loaded = Sources(environment={variable: "9000"}, flags={}).load()
    assert (loaded.effective[key].value, loaded.effective[key].source) == (9000, f"${variable}")


@pytest.mark.parametrize("text", ["9000", "http://10.0.0.1:443", ""])
def test_a_misspelled_variable_is_not_taken_for_a_service_link(file: Path, text: str) -> None:
    found = problems_of(variables={"SPOTALIS_SERVING_WEBHOK_PORT": text}, file=file)
    assert len(found) == 1
    assert "did you mean `SPOTALIS_SERVING_WEBHOOK_PORT`?" in found[0]


ALL_PROBLEMS = """\
spotalis.yaml:1  `resync` must be at least 5s; it is '2s'
spotalis.yaml:2  `read-only` is not a setting; did you mean `readOnly`?
spotalis.yaml:5  `leaderElection.leaseDurtion` is not a setting; did you mean `leaderElection.leaseDuration`?
spotalis.yaml:6  `leaderElection.retryPeriod` is a duplicate of line 4
spotalis.yaml:7  `leaseDuration` is not a setting; did you mean `leaderElection.leaseDuration`?
spotalis.yaml:8  `api` must be a mapping of settings
$SPOTALIS_RESINC  `SPOTALIS_RESINC` is not a setting; did you mean `SPOTALIS_RESYNC`?
$SPOTALIS_LOGGING_LEVEL  `logging.level` must be debug, info, warning or error; it is 'loud'
--max-moves-in-flight  `maxMovesInFlight` must be a whole number from 1 to 1000; it is '0'
"""  # noqa: E501  # as it is printed


def test_every_problem_is_reported_at_once_with_its_place(file: Path) -> None:
    text = (
        "resync: 2s\n"
        "read-only: true\n"
        "leaderElection:\n"
        "  retryPeriod: 1s\n"
        "  leaseDurtion: 9s\n"
        "  retryPeriod: 2s\n"
        "leaseDuration: 9s\n"
        "api: 5\n"
    )
    variables = {"SPOTALIS_RESINC": "9s", "SPOTALIS_LOGGING_LEVEL": "loud"}
    assert (
        problems_of(text, variables, {"maxMovesInFlight": "0"}, file=file)
        == ALL_PROBLEMS.splitlines()
    )


def bad_lines() -> list[tuple[str, str]]:
    """Pairs of lines from bad_settings.txt, which may be longer than 100 columns."""
    text = Path(__file__).with_name("bad_settings.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [(line, told.strip()) for line, told in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.parametrize(("line", "message"), bad_lines())
def test_an_invalid_line_is_rejected_with_a_message(line: str, message: str, file: Path) -> None:
    told = problems_of(line, file=file)[0]
    assert message in told
    assert told.startswith("spotalis.yaml:")


def test_a_second_document_is_rejected_at_its_line(file: Path) -> None:
    told = problems_of("resync: 9s\n---\nresync: 8s\n", file=file)
    assert told == [
        "spotalis.yaml:2  `(the file)` must be one YAML document: a second document begins here"
    ]


def test_a_file_that_is_not_text_is_rejected(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="must be in UTF-8"):
        Sources(file=file, environment={}, flags={}).load()


CONTRADICTIONS = {
    "leaderElection: {renewDeadline: 15s}": (
        "`leaderElection.renewDeadline` must be shorter than `leaderElection.leaseDuration` "
        "(15s); it is 15s"
    ),
    "leaderElection: {retryPeriod: 10s}": (
        "`leaderElection.retryPeriod` must be shorter than `leaderElection.renewDeadline` "
        "(10s); it is 10s"
    ),
    "serving: {certificateFile: a}": (
        "`serving.certificateFile` requires `serving.keyFile` to be set as well"
    ),
    "serving: {keyFile: a}": (
        "`serving.keyFile` requires `serving.certificateFile` to be set as well"
    ),
    "defaults: {disruption-duration: 1h}": (
        "`defaults.disruption-duration` requires `defaults.disruption-schedule` to be set as well"
    ),
    "serving: {healthPort: 8080}": (
        "`serving.healthPort` must not be the port of `serving.metricsPort`; both are 8080"
    ),
}


@pytest.mark.parametrize("line", CONTRADICTIONS)
def test_contradictory_settings_are_rejected(line: str, file: Path) -> None:
    assert problems_of(line, file=file) == [f"spotalis.yaml:1  {CONTRADICTIONS[line]}"]


def test_a_contradiction_between_sources_names_both(file: Path) -> None:
    told = problems_of(
        "\nleaderElection: {leaseDuration: 8s}",
        {"SPOTALIS_LEADER_ELECTION_RENEW_DEADLINE": "9s"},
        file=file,
    )
    assert told[0].startswith("$SPOTALIS_LEADER_ELECTION_RENEW_DEADLINE and spotalis.yaml:2  ")


def test_an_invalid_value_is_not_reported_as_a_contradiction_too(file: Path) -> None:
    assert len(problems_of("leaderElection: {renewDeadline: 20}", file=file)) == 1


def test_a_missing_file_raises_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Sources(file=tmp_path / "none.yaml", environment={}, flags={}).load()


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("namespace: on", "namespace", "on"),
        ("identity: 0123", "identity", "0123"),
        ("identity: 2026-01-01", "identity", "2026-01-01"),
        ("readOnly: 'true'", "readOnly", True),
        ("maxMovesInFlight: '7'", "maxMovesInFlight", 7),
        ("excludedNamespaces: [1, on]", "excludedNamespaces", {"1", "on"}),
    ],
)
def test_a_scalar_is_the_text_that_was_written(
    line: str, key: str, value: object, file: Path
) -> None:
    assert load(line, file=file).effective[key].value == value
