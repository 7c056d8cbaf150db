"""Merges states of the model that differ only in names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from tests.model.ledger_state import (
    Instance,
    PackedIntent,
    PackedLedger,
    Phase,
    Request,
    Status,
    World,
)

_DEAD = 9
"""The name of all instances that have ended. No rule distinguishes them."""


def canonical(world: World) -> World:
    """The equivalent state with the smallest names."""
    keys = [
        (instance.phase, len(instance.intents), len(instance.queue), len(instance.rejected))
        for instance in world.instances
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    alike = len(set(keys)) < len(keys)
    orders = permutations(order) if alike else (order,)
    return min(_renamed(world, each) for each in orders if sorted(keys) == [keys[i] for i in each])


def _renamed(world: World, order: Sequence[int]) -> World:
    """Order instances as given, and pods by the facts about them.

    Two pods with the same facts are equivalent, because nothing relates pods to each other.
    """
    instances = [world.instances[old] for old in order]
    names = {instance.name: number for number, instance in enumerate(instances)}
    facts = _facts(world, instances, names)
    new = [0] * len(facts)
    order_of_pods = sorted(range(len(facts)), key=facts.__getitem__)
    for number, old in enumerate(order_of_pods):
        new[old] = number

    def renamed(intents: PackedLedger) -> PackedLedger:
        living = [
            PackedIntent(new[pod], names.get(instance, _DEAD), tries, taken)
            for pod, instance, tries, taken in intents
            if world.pods[pod] != Status.ENDED
        ]
        ended = sorted(
            [new[intent.pod] for intent in intents if world.pods[intent.pod] == Status.ENDED]
        )
        return (*[PackedIntent(pod, _DEAD) for pod in ended], *living)

    return World(
        tuple([world.pods[old] for old in order_of_pods]),
        tuple([tuple([pods[old] for old in order_of_pods]) for pods in world.past]),
        renamed(world.ledger),
        tuple(
            sorted(
                Request(new[pod], names.get(sender, -1), losses)
                for pod, sender, losses in world.requests
            )
        ),
        tuple(
            [
                Instance(
                    number,
                    instance.phase,
                    renamed(instance.intents),
                    instance.read_empty,
                    tuple([new[pod] for pod in instance.queue]),
                    new[instance.pending] if instance.pending >= 0 else -1,
                    tuple(sorted([new[pod] for pod in instance.rejected])),
                    instance.losses,
                    tuple(sorted([new[pod] for pod in instance.sent])),
                )
                for number, instance in enumerate(instances)
            ]
        ),
        world.crashes,
        world.events,
    )


def _facts(
    world: World, instances: Sequence[Instance], names: dict[int, int]
) -> list[list[tuple[int, ...]]]:
    """All facts about each pod, without the names of pods."""
    facts: list[list[tuple[int, ...]]] = [[(status,)] for status in world.pods]
    for time, pods in enumerate(world.past):
        for pod, status in enumerate(pods):
            facts[pod].append((0, time, status))
    for place, intent in enumerate(world.ledger):
        facts[intent.pod].append((1, place if world.pods[intent.pod] != Status.ENDED else -1))
    for request in sorted((r.losses, names.get(r.sender, -1), r.pod) for r in world.requests):
        facts[request[2]].append((2, *request[:2]))
    for number, instance in enumerate(instances):
        if instance.phase is Phase.IDLE and not instance.sent:
            continue
        for place, intent in enumerate(instance.intents):
            living = world.pods[intent.pod] != Status.ENDED
            facts[intent.pod].append((3, number, place if living else -1))
        for place, pod in enumerate(instance.queue):
            facts[pod].append((4, number, place))
        for pod in instance.rejected:
            facts[pod].append((5, number))
        for pod in instance.sent:
            facts[pod].append((6, number))
        if instance.pending >= 0:
            facts[instance.pending].append((7, number))
    return facts
