"""Mutants of the webhook that unit tests and integration tests must find."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

WEBHOOK_MUTANTS = (
    mutant(
        "the webhook denies pods",
        "webhook/admission_review.py",
        '{"uid": uid, "allowed": True}',
        '{"uid": uid, "allowed": bool(patch)}',
        scenario("basic", "workloads_and_pods_that_are_not_enabled_are_left_unchanged"),
    ),
    mutant(
        "pods are rejected while the webhook is down",
        "webhook/webhook_configuration.py",
        '"failurePolicy": "Ignore"',
        '"failurePolicy": "Fail"',
        "tests/unit/webhook/test_webhook_configuration.py",
    ),
    mutant(
        "a patch replaces the pod's own values",
        "webhook/pod_patch.py",
        '    if present is None:\n        return [{"op": "add", "path": path, "value": dict',
        '    if present != wanted:\n        return [{"op": "add", "path": path, "value": dict',
        "tests/unit/webhook/test_pod_patch.py",
    ),
    mutant(
        "a dry run reserves a slot",
        "webhook/admission.py",
        "        if not request.dry_run:\n            self._reservations.add",
        "        if request.uid:\n            self._reservations.add",
        "tests/integration/test_dry_runs.py",
    ),
    mutant(
        "every admission counts all reservations again",
        "controller/reservations.py",
        "        return found.slots if found else NO_RESERVED_SLOTS\n",
        "        return ReservedSlots.of(r for _, r in found.entries.values()) if found else "
        "NO_RESERVED_SLOTS\n",
        "tests/unit/controller/test_reservations.py",
    ),
    mutant(
        "a pod of another namespace ends a reservation of the owner that it names",
        "controller/reservations.py",
        "        key = namespace, owner\n",
        "        key = next((k for k in self._by_owner if k[1] == owner), (namespace, owner))\n",
        "tests/unit/controller/test_reservations.py",
    ),
    mutant(
        "the leader does not know pods again that another instance forwards",
        "webhook/admission.py",
        "        if (reservation := self._reservation_of(request, owner)) is not None:\n",
        "        if body and (reservation := self._reservation_of(request, owner)) is not None:\n",
        scenario(
            "overriding_webhooks",
            "any_instance_tells_the_leader_what_a_later_webhook_has_chosen",
        ),
    ),
    mutant(
        "an ordinal of any size is reserved",
        "planner/reserved_slots.py",
        "if slot is not None and 0 <= slot < SLOT_LIMIT else 0",
        "if slot is not None and 0 <= slot < 10 * SLOT_LIMIT else 0",
        "tests/unit/controller/test_reservations.py",
    ),
    mutant(
        "a reservation outlives the arrival of its pod",
        "controller/reservations.py",
        "self.entries.pop(request_uid, None)",
        "None",
        "tests/integration/test_dry_runs.py",
    ),
    mutant(
        "a scale-down deletes the lowest slot first",
        "webhook/pod_patch.py",
        "str(BASE_DELETION_COST - placement.slot)",
        "str(BASE_DELETION_COST + placement.slot)",
        scenario("scaling", "scaling_a_deployment_from_6_to_2_to_12_causes_no_eviction"),
    ),
    mutant(
        "TLS 1.2 is accepted",
        "webhook/serving_certificate.py",
        "        self.context = _listener_context(minimum_version)",
        "        self.context = _listener_context(ssl.TLSVersion.TLSv1_2)",
        "tests/unit/webhook/test_serving_certificate.py",
    ),
    mutant(
        "any update of the owner ends the webhook's wait",
        "webhook/admission.py",
        "                    self._waits.release(request.namespace)\n",
        "                    self._waits.release(request.namespace)\n"
        "                deadline = 0.0\n",
        "tests/integration/scenarios/test_neighbours.py",
    ),
    mutant(
        "the webhook waits for the Deployment of a ReplicaSet that has none",
        "controller/owners.py",
        "replica_set.uid == owner.uid and not has_parent:\n",
        "False:\n",
        scenario(
            "basic",
            "a_pod_whose_replica_set_belongs_to_no_deployment_is_admitted_at_once[embedded]",
        ),
    ),
    mutant(
        "the webhook does not look again at a pod that another one has changed",
        "webhook/admission.py",
        "        if pin is None or request.decision.rule in PINNED_RULES:\n",
        "        if True:\n",
        scenario(
            "overriding_webhooks",
            "the_choice_of_a_later_webhook_is_respected_and_reported[affinity added-embedded]",
        ),
    ),
    mutant(
        "replicas move to a type from which another webhook sends them back",
        "planner/candidates.py",
        "if any(r.overridden and r.node_type is surplus_type for r in observed.active):",
        "if False:",
        scenario(
            "overriding_webhooks",
            "the_choice_of_a_later_webhook_is_respected_and_reported[selector replaced-embedded]",
        ),
    ),
)
