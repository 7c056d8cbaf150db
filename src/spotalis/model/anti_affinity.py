"""Required pod anti-affinity, as the scheduler reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spotalis.model.objects import LabelSelector


class AntiAffinityTerm(msgspec.Struct, frozen=True, gc=False):
    """A term of required pod anti-affinity."""

    topology_key: str
    """The label that defines the domains: two nodes with the same value are in one."""
    selector: LabelSelector
    """The pods that may not be in the domain of a pod with this term."""
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None
    """The namespaces of these pods: those that are named, and those that it matches. Without both,
    the namespace of the pod that has the term (API reference, PodAffinityTerm)."""

    @property
    def names_namespaces(self) -> bool:
        """Whether the term says itself which namespaces it concerns."""
        return bool(self.namespaces) or self.namespace_selector is not None

    @property
    def comparisons(self) -> int:
        """How many comparisons one evaluation takes at most."""
        names = self.namespace_selector.comparisons if self.namespace_selector else 0
        return self.selector.comparisons + len(self.namespaces) + names

    def concerns(self, namespace: str, labels: Mapping[str, str], own: str) -> bool:
        """Whether it concerns the pods of a namespace.

        Args:
            namespace: its name.
            labels: its labels.
            own: the namespace of the pod that has the term.
        """
        if not self.names_namespaces:
            return namespace == own
        selected = self.namespace_selector is not None and self.namespace_selector.matches(labels)
        return selected or namespace in self.namespaces
