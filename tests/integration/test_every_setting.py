"""A changed value of any setting changes the behaviour of a running operator (T016).

Each row compares two processes: one without the change and one with it. The change comes from the
file, a variable or a flag in turn. Rows with the same common settings share the first process.
Every process has its own embedded cluster, and many run side by side. A setting without a row
fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spotalis.settings.declarations import SETTINGS
from tests.integration.setting_probes import CERTIFICATE, PROBE_SECONDS, Probe
from tests.integration.setting_rows import FILES, ROWS
from tests.support.free_ports import claim_ports
from tests.support.operator_process import HOST, OperatorProcess, operator

SIDE_BY_SIDE = 8
"""Processes at once."""
WITHIN_SECONDS = 240.0
"""Most take 1 to 10 s, but eight processes that start at once keep a slow machine busy."""
STEADY_PROBES = 3


@dataclass(frozen=True)
class Results:
    """The results of a row's probe for both processes."""

    before: object
    after: object


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Results]:
    """The results of every row, by its number."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "tls.crt").write_bytes(CERTIFICATE.pair.cert_pem)
    (folder / "tls.key").write_bytes(CERTIFICATE.pair.key_pem)
    (folder / "ca.crt").write_bytes(CERTIFICATE.ca_pem)
    return asyncio.run(_run_all(folder))


async def _run_all(folder: Path) -> Mapping[int, Results]:
    slots = asyncio.Semaphore(SIDE_BY_SIDE)
    alike: dict[str, list[int]] = {}
    for number, row in enumerate(ROWS):
        alike.setdefault(repr((row.given, row.moving)), []).append(number)
    unchanged = (_run_process(slots, folder, rows, changed=False) for rows in alike.values())
    changed = (_run_process(slots, folder, [number], changed=True) for number in range(len(ROWS)))
    found = await asyncio.gather(*changed, *unchanged)
    after = dict(pair for pairs in found[: len(ROWS)] for pair in pairs.items())
    before = dict(pair for pairs in found[len(ROWS) :] for pair in pairs.items())
    return {number: Results(before[number], after[number]) for number in after}


async def _run_process(
    slots: asyncio.Semaphore, folder: Path, numbers: Sequence[int], *, changed: bool
) -> dict[int, object]:
    """The results of one process, by row."""
    row = ROWS[numbers[0]]
    async with slots:
        claim = claim_ports()
        at = folder / f"{numbers[0]}-{'after' if changed else 'before'}"
        put = {"FOLDER": str(folder), "OTHER_PORT": str(claim.ports[3])}
        common = {
            "serving.host": HOST,
            "serving.webhookPort": claim.ports[0],
            "serving.metricsPort": claim.ports[1],
            "serving.healthPort": claim.ports[2],
            **FILES,
            **row.given,
        }
        file = {key: value for key, value in _put(common, put).items() if value is not None}
        flags, variables = (
            _sources(numbers[0], _put(row.change, put), file) if changed else ([], {})
        )
        running = operator(
            at,
            claim.ports,
            _nested(file),
            flags=flags,
            variables=variables,
            webhook_ca=CERTIFICATE.ca_pem if row.moving else None,
        )
        try:
            async with running as it:
                expected = {n: ROWS[n].after if changed else ROWS[n].before for n in numbers}
                looks = (_repeat(ROWS[n].probe, expected[n], it) for n in numbers)
                return dict(zip(numbers, await asyncio.gather(*looks), strict=True))
        finally:
            claim.release()


def _sources(
    number: int, change: Mapping[str, Any], file: dict[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """The flags and variables of a change. Every third row changes the file instead."""
    flags: list[str] = []
    variables: dict[str, str] = {}
    for key, value in change.items():
        setting = SETTINGS[key]
        text = value if isinstance(value, str) else json.dumps(value)
        match number % 3:
            case 0:
                file[key] = value
            case 1:
                variables[setting.variable] = text
            case _ if isinstance(value, bool):
                flags.append(f"--{setting.flag}" if value else f"--no-{setting.flag}")
            case _:
                flags += [f"--{setting.flag}", text]
    return flags, variables


async def _repeat(probe: Probe, expected: object, it: OperatorProcess) -> object:
    steady, last = 0, None
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while steady < STEADY_PROBES:
                if it.process.returncode is not None:
                    return f"exited with {it.process.returncode}: {it.log_text()}"
                last = await probe(it)
                steady = steady + 1 if last == expected else 0
                await asyncio.sleep(PROBE_SECONDS)
    except TimeoutError:
        pass  # the test compares the last result
    return last


def _put(values: Mapping[str, object], places: Mapping[str, str]) -> dict[str, Any]:
    """The values with the placeholders of folder and port replaced."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if value == "OTHER_PORT":
            value = int(places[value])
        elif isinstance(value, str):
            value = value.replace("FOLDER", places["FOLDER"])
        found[key] = value
    return found


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    """The settings file: values by section."""
    root: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        at = root
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return root


@pytest.mark.parametrize("number", range(len(ROWS)), ids=map(str, ROWS))
def test_a_changed_setting_changes_the_behaviour_of_the_process(
    number: int, results: Mapping[int, Results]
) -> None:
    row = ROWS[number]
    assert row.before != row.after
    assert (results[number].before, results[number].after) == (row.before, row.after)


def test_every_declared_setting_has_a_row() -> None:
    assert {key for row in ROWS for key in row.change} == set(SETTINGS)


def test_no_row_sets_a_setting_to_its_default() -> None:
    for row in ROWS:
        for key, value in row.change.items():
            setting = SETTINGS[key]
            assert value != setting.default, key
