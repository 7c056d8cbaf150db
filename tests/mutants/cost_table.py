"""Mutants that let work or memory grow with what a tenant writes."""

from __future__ import annotations

from tests.mutants.mutant import mutant

CONFIGURATION = "tests/unit/model/test_configuration.py::"
PLACEMENT = "tests/unit/planner/test_placement.py::"
BOUNDED = "tests/unit/kube/test_bounded_records.py::"

COST_MUTANTS = (
    mutant(
        "a policy value of any length is parsed",
        "model/configuration.py",
        "            return parse(check_length(text).strip())\n",
        "            return parse(text.strip())\n",
        CONFIGURATION + "test_a_value_above_256_characters_is_not_parsed_and_its_length_is_named",
    ),
    mutant(
        "every key that is not read is named",
        "model/configuration.py",
        "        for key, text, source in unread[:MAX_NAMED_KEYS]:\n",
        "        for key, text, source in unread:\n",
        CONFIGURATION
        + "test_of_many_keys_that_are_not_read_five_are_named_and_the_rest_is_counted",
    ),
    mutant(
        "a placement enumerates the desired replicas",
        "planner/placement.py",
        "_slots_of(node_type, percent, floor, 1 << taken.bit_count().bit_length())",
        "_slots_of(node_type, percent, floor, min(highest, 1 << 16))",
        PLACEMENT + "test_a_placement_takes_the_same_memory_for_any_number_of_desired_replicas",
    ),
    mutant(
        "labels are kept after their last pod is gone",
        "kube/decode/shared.py",
        "self._values: WeakValueDictionary[bytes, T] = WeakValueDictionary()",
        "self._values: dict[bytes, T] = {}",
        BOUNDED + "test_a_pod_that_is_relabelled_again_and_again_keeps_only_its_last_labels",
    ),
    mutant(
        "every annotation under the prefix is kept",
        "kube/decode/metadata.py",
        "                continue\n        kept[key] = cut(value)\n",
        "                pass\n        kept[key] = cut(value)\n",
        BOUNDED + "test_annotations_that_are_not_read_are_not_kept",
    ),
)
