"""Every named script on the embedded cluster, compared with the last run on the real one.

Needs no control plane: see tests/conformance/recorded.py. ``make test`` records the histories.
"""

from __future__ import annotations

import json

import pytest

from tests.conformance import recorded
from tests.conformance.beds import on_embedded
from tests.conformance.differences import unknown
from tests.conformance.history import differences
from tests.conformance.scripts import ALONE, SCRIPTS


@pytest.mark.parametrize("name", [*SCRIPTS, *ALONE])
def test_the_embedded_cluster_answers_as_the_control_plane_did(name: str) -> None:
    script = (SCRIPTS | ALONE)[name]
    found = recorded.load(name, script)
    if found is None:
        pytest.skip("no recorded history of this script: run `make test` with the control plane")
    namespace, real = found
    embedded = json.loads(json.dumps(on_embedded(script, namespace)))
    surprises = unknown(name, differences(embedded, real))
    assert not surprises, "\n".join(str(one) for one in surprises)
