"""Kubeconfigs in unusual spellings are read as kubectl reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spotalis.kube.config.access import ClusterAccess, ConfigError, load
from spotalis.kube.config.credentials import read_pem
from tests.support import kubeconfigs
from tests.support.kubeconfigs import Case, Reading
from tests.support.manual_clock import ManualClock


async def reading_of(access: ClusterAccess) -> Reading:
    credential = await access.credentials.get(ManualClock())
    return Reading(
        server=access.server,
        ca=read_pem(access.ca),
        verify=access.verify,
        headers=tuple(sorted(credential.headers)),
    )


@pytest.mark.parametrize(
    "case", [*kubeconfigs.SAME, *kubeconfigs.DIFFERENT], ids=lambda case: case.name
)
async def test_a_kubeconfig_in_an_unusual_spelling(tmp_path: Path, case: Case) -> None:
    file = tmp_path / "config"
    file.write_bytes(case.bytes())
    if case.spotalis is not None:
        assert await reading_of(load({}, kubeconfig=str(file))) == case.spotalis
        return
    with pytest.raises(ConfigError) as caught:
        load({}, kubeconfig=str(file))
    assert caught.value.code in ("SP004", "SP007")
