"""What is wrong with manifests, found by the functions that the operator uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from spotalis.cli.manifests import Manifest, Place, Unreadable
from spotalis.kube import decode
from spotalis.kube.resources import WORKLOADS
from spotalis.model.configuration import (
    ENABLED,
    POD_KEYS,
    Problem,
    WorkloadConfiguration,
    read_configuration,
)
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, DisruptionBudget, Namespace, Workload
from spotalis.model.policy_values import KEYS
from spotalis.model.replicas import desired_spot
from spotalis.model.suggestion import find_similar

WORKLOAD_KINDS = {kind: resource.decode for kind, resource in WORKLOADS.items()}


class Severity(StrEnum):
    """How serious a finding is."""

    ERROR = "error"
    """Spotalis leaves the workload unchanged, or the API server rejects the manifest."""
    WARNING = "warning"
    """Something has no effect, or not the one that its author may expect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A replacement of text that corrects a finding."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    code: str
    """Stable; docs/reference/validate.md describes each."""
    severity: Severity
    message: str
    place: Place
    consequence: str = ""
    """What happens meanwhile."""
    edit: Edit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was checked, and what was found."""

    findings: tuple[Finding, ...]
    workloads: int
    files: int


def check(documents: Sequence[Manifest | Unreadable]) -> Report:
    """Check all documents together: namespaces and budgets apply to workloads in other files."""
    manifests = [document for document in documents if isinstance(document, Manifest)]
    unreadable = [document for document in documents if isinstance(document, Unreadable)]
    workloads = [manifest for manifest in manifests if manifest.kind in WORKLOAD_KINDS]
    namespaces = {}
    findings = [
        Finding(code="SP100", severity=Severity.ERROR, message=one.message, place=one.place)
        for one in unreadable
    ]
    for manifest in manifests:
        if manifest.kind == "Namespace":
            namespace = namespace_of(manifest)
            namespaces[namespace.name] = namespace
            findings += _check_texts(manifest)
            findings += _check_namespace(manifest, namespace)
    budgets = [found for found in map(_budget, manifests) if found is not None]
    for manifest in workloads:
        findings += _check_texts(manifest)
        findings += _check_workload(manifest, namespaces, budgets)
    findings.sort(key=lambda f: (f.place.file, f.place.line, f.place.column, f.code))
    return Report(
        findings=tuple(findings),
        workloads=len(workloads),
        files=len({document.file for document in manifests} | {u.place.file for u in unreadable}),
    )


def own_texts(manifest: Manifest) -> Iterator[tuple[str, str, object]]:
    """Section, key and value of each label and annotation of Spotalis."""
    for section in ("labels", "annotations"):
        mapping = manifest.metadata.get(section)
        if isinstance(mapping, Mapping):
            for key, value in mapping.items():
                if isinstance(key, str) and key.startswith(PREFIX):
                    yield section, key, value


def _check_texts(manifest: Manifest) -> Iterator[Finding]:
    """Values must be text: the API server rejects ``spotalis.io/spot-percentage: 70``."""
    for section, key, value in own_texts(manifest):
        if not isinstance(value, str):
            place = manifest.place("metadata", section, key)
            written = place.text[place.column - 1 : place.column - 1 + place.width]
            yield Finding(
                code="SP102",
                severity=Severity.ERROR,
                message=f'`{key}` must be text: write "{written}" in quotes',
                place=place,
                consequence="the API server rejects the manifest",
                edit=Edit(place=place, text=f'"{written}"'),
            )


def _texts(mapping: object) -> dict[str, str]:
    """A mapping whose values are text; numbers and truth values become text as YAML writes them."""
    if not isinstance(mapping, Mapping):
        return {}
    return {
        str(key): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in mapping.items()
        if isinstance(value, str | int | float)
    }


def _with_texts(manifest: Manifest) -> dict[str, Any]:
    """The object with text as values of labels and annotations, as its author meant it."""
    metadata = dict(manifest.metadata)
    for section in ("labels", "annotations"):
        metadata[section] = _texts(metadata.get(section))
    return {**manifest.value, "metadata": {"uid": "-", **metadata}}


def namespace_of(manifest: Manifest) -> Namespace:
    """The Namespace in a manifest."""
    metadata = manifest.metadata
    return Namespace(
        name=str(metadata.get("name", "")),
        uid="",
        labels=_texts(metadata.get("labels")),
        annotations=_texts(metadata.get("annotations")),
    )


def _budget(manifest: Manifest) -> tuple[Manifest, DisruptionBudget] | None:
    if manifest.kind != "PodDisruptionBudget":
        return None
    try:
        return manifest, decode.disruption_budget(msgspec.json.encode(_with_texts(manifest)))
    except (*decode.DECODE_ERRORS, TypeError):
        return None


def _check_namespace(manifest: Manifest, namespace: Namespace) -> Iterator[Finding]:
    """Read the policy that a workload without annotations of its own would inherit."""
    workload = Workload(
        kind="Deployment", namespace=namespace.name, name="-", uid="", labels={ENABLED: "true"}
    )
    read = read_configuration(workload, namespace, {})
    for problem in read.problems:
        if "namespace/" in problem.source:
            yield _from_problem(manifest, problem, Severity.ERROR, "its workloads")
    for section, key, _ in own_texts(manifest):
        name = key.removeprefix(PREFIX)
        if name not in KEYS and key != ENABLED:
            yield _unknown_key(manifest, section, key)


def _check_workload(
    manifest: Manifest,
    namespaces: Mapping[str, Namespace],
    budgets: Sequence[tuple[Manifest, DisruptionBudget]],
) -> Iterator[Finding]:
    try:
        encoded = msgspec.json.encode(_with_texts(manifest))
        workload = WORKLOAD_KINDS[manifest.kind](encoded)
    except (*decode.DECODE_ERRORS, TypeError) as error:
        yield Finding(
            code="SP103",
            severity=Severity.ERROR,
            message=f"is not a valid {manifest.kind}: {error}",
            place=manifest.place("spec"),
        )
        return
    configuration = read_configuration(workload, namespaces.get(workload.namespace), {})
    for problem in configuration.problems:
        if "namespace/" not in problem.source:
            yield _from_problem(manifest, problem, Severity.ERROR, "the workload")
    for problem in configuration.warnings:
        if problem.is_unknown_key and not problem.source.startswith("template"):
            continue  # found below, also without opt-in
        yield _from_problem(manifest, problem, Severity.WARNING, "the workload")
    for section, key, _ in own_texts(manifest):
        if key.removeprefix(PREFIX) not in KEYS and key != ENABLED and key not in POD_KEYS:
            yield _unknown_key(manifest, section, key)
    if configuration.enabled and configuration.has_policy and not configuration.problems:
        yield from _check_effect(manifest, workload, configuration, budgets)


def _check_effect(
    manifest: Manifest,
    workload: Workload,
    configuration: WorkloadConfiguration,
    budgets: Sequence[tuple[Manifest, DisruptionBudget]],
) -> Iterator[Finding]:
    """Values that are valid, and together have no effect."""
    n, percent = workload.replicas, configuration.percent
    if percent and n and desired_spot(n, percent, configuration.floor) == 0:
        yield Finding(
            code="SP301",
            severity=Severity.WARNING,
            message=f"{percent}% of {n} {'replica' if n == 1 else 'replicas'} with min-on-demand "
            f"{configuration.floor} is 0 on spot: nothing will run on spot",
            place=manifest.place("spec", "replicas"),
        )
    classification = ControllerConfiguration().classification
    pinned = classification.pinned_to(workload.shape)
    if pinned is not NodeType.UNKNOWN and 0 < percent < 100:
        yield Finding(
            code="SP302",
            severity=Severity.WARNING,
            message=f"the pod template selects {pinned} nodes, so spot-percentage has no effect",
            place=manifest.place("spec", "template", "spec"),
            consequence="the workload reports Pinned",
        )
    labels = workload.template_labels
    for written, budget in budgets:
        same = budget.namespace == workload.namespace
        if not same or budget.selector is None or not budget.selector.matches(labels):
            continue
        if _never_allows(written.value.get("spec"), workload.replicas):
            yield Finding(
                code="SP303",
                severity=Severity.WARNING,
                message=f"poddisruptionbudget/{budget.name} never allows an eviction of "
                f"{manifest.kind.lower()}/{workload.name} with {n} replicas",
                place=written.place("spec"),
                consequence="no replica will ever move; node drains stop too",
            )


def _never_allows(spec: object, replicas: int) -> bool:
    """Whether a budget leaves no disruption even if every replica is ready."""
    if not isinstance(spec, Mapping):
        return False
    minimum, maximum = spec.get("minAvailable"), spec.get("maxUnavailable")
    if maximum is not None:
        return _share(maximum, replicas) == 0
    return minimum is not None and _share(minimum, replicas) >= replicas > 0


def _share(value: object, replicas: int) -> int:
    """A number or a percentage of the replicas, rounded up as the disruption controller does."""
    text = str(value)
    if text.endswith("%") and text[:-1].isdecimal():
        return -(-int(text[:-1]) * replicas // 100)
    return int(text) if text.isdecimal() else 1


def _from_problem(manifest: Manifest, problem: Problem, severity: Severity, what: str) -> Finding:
    key = PREFIX + problem.key
    place = _place_of(manifest, problem.source, key)
    value = "" if problem.value is None else f" '{problem.value}'"
    left = f"{what} will be left unchanged and will report InvalidPolicy"
    return Finding(
        code="SP101" if severity is Severity.ERROR else "SP201",
        severity=severity,
        message=f"`{key}`{value} {problem.message}",
        place=place,
        consequence=left if severity is Severity.ERROR else "",
    )


def _place_of(manifest: Manifest, source: str, key: str) -> Place:
    if source.startswith("template"):
        for section in ("annotations", "labels"):
            path = ("spec", "template", "metadata", section, key)
            if manifest.has(*path):
                return manifest.place(*path, key=True)
    section = "labels" if source.startswith("label") else "annotations"
    return manifest.place("metadata", section, key)


def _unknown_key(manifest: Manifest, section: str, key: str) -> Finding:
    place = manifest.place("metadata", section, key, key=True)
    similar = find_similar(key.removeprefix(PREFIX), (*KEYS, "enabled"))
    hint = f"; did you mean `{PREFIX}{similar}`?" if similar else ""
    return Finding(
        code="SP202",
        severity=Severity.WARNING,
        message=f"`{key}` is not read by Spotalis{hint}",
        place=place,
        edit=Edit(place=place, text=PREFIX + similar) if similar else None,
    )
