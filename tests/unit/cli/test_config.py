"""``spotalis config``, the generated page and schema, and errors in settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from scripts.configuration_page import PAGE, markdown
from spotalis.cli.config import settings_schema
from spotalis.cli.main import run
from spotalis.cli.parser import Parser
from spotalis.cli.setting_flags import FREQUENT, add_setting_flags
from spotalis.settings.declarations import SETTINGS
from spotalis.settings.sources import Sources
from spotalis.settings.value_types import BOOLEAN

Command: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spotalis(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command line without $SPOTALIS_CONFIG; returns exit code, stdout and stderr."""
    monkeypatch.delenv("SPOTALIS_CONFIG", raising=False)

    def command(*argv: str) -> tuple[int, str, str]:
        code = run(["spotalis", *argv])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_show_prints_every_value_with_its_source(
    spotalis: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "spotalis.yaml"
    file.write_text(
        "resync: 40s\ndefaults:\n  disruption-schedule: 0 2 * * *\n  disruption-duration: 4h\n"
    )
    monkeypatch.setenv("SPOTALIS_EXCLUDED_NAMESPACES", "a,b")
    code, out, _ = spotalis("config", "--show", "--config", str(file), "--no-leader-election")
    rows = {line.split()[0]: re.split(r"  +", line)[1:] for line in out.splitlines()}
    assert code == 0
    assert list(rows) == ["SETTING", *SETTINGS]
    assert rows["SETTING"] == ["VALUE", "SOURCE"]
    assert rows["resync"] == ["40s", f"{file}:1"]
    assert rows["defaults.disruption-schedule"] == ['"0 2 * * *"', f"{file}:3"]
    assert rows["excludedNamespaces"] == ['["a", "b"]', "$SPOTALIS_EXCLUDED_NAMESPACES"]
    assert rows["leaderElection.enabled"] == ["false", "--leader-election"]
    assert rows["cooldown"] == ["0s", "default"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--read-only", "true"),
        ("--read-only=false", "false"),
        ("--no-read-only", "false"),
        ("--read-only=maybe", None),
        ("--no-read-only=false", None),
    ],
)
def test_a_boolean_flag_takes_an_optional_value(
    flag: str, value: str | None, spotalis: Command
) -> None:
    code, out, _ = spotalis("config", "--show", flag)
    assert code == (2 if value is None else 0)
    if value is not None:
        assert re.search(rf"^readOnly +{value} +--read-only$", out, re.MULTILINE)


def test_show_as_json_is_a_versioned_list(spotalis: Command) -> None:
    code, out, _ = spotalis("config", "--show", "-o", "json", "--max-moves-in-flight", "7")
    document = json.loads(out)
    assert (code, document["kind"]) == (0, "SettingList")
    by_key = {item["key"]: item for item in document["items"]}
    assert by_key["maxMovesInFlight"] == {
        "key": "maxMovesInFlight",
        "value": "7",
        "source": "--max-moves-in-flight",
    }


def test_the_file_can_be_named_by_a_variable(
    spotalis: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "spotalis.yaml"
    file.write_text("cooldown: 9s")
    monkeypatch.setenv("SPOTALIS_CONFIG", str(file))
    assert f"{file}:1" in spotalis("config", "--show")[1]


@pytest.mark.parametrize("command", [("controller",), ("config", "--show")])
def test_invalid_settings_are_reported_like_every_other_error(
    command: tuple[str, ...], spotalis: Command, tmp_path: Path
) -> None:
    file = tmp_path / "spotalis.yaml"
    file.write_text("resync: 1s\ncoldown: 5s\n")
    code, out, err = spotalis(*command, "--config", str(file), "--host", "a b")
    assert (code, out) == (2, "")
    assert err == (
        "error[SP023]: 3 invalid settings; nothing was started\n"
        f"  {file}:1  `resync` must be at least 5s; it is '1s'\n"
        f"  {file}:2  `coldown` is not a setting; did you mean `cooldown`?\n"
        "  --host  `serving.host` must be an address or a host name; it is 'a b'\n"
        "fix: correct the lines above; to list all settings: spotalis config --schema\n"
    )


def test_the_message_about_a_missing_settings_file_names_it(
    spotalis: Command, tmp_path: Path
) -> None:
    missing = tmp_path / "none.yaml"
    code, _, err = spotalis("controller", "--config", str(missing))
    assert code == 2
    assert f"cannot read the settings file {missing}: No such file or directory" in err


def test_an_unknown_flag_is_rejected_with_a_suggestion(spotalis: Command) -> None:
    code, _, err = spotalis("controller", "--resinc", "9s")
    assert code == 2
    assert "did you mean --resync?" in err


@pytest.mark.parametrize("flags", [(), ("--show", "--schema")])
def test_config_requires_exactly_one_of_show_and_schema(
    flags: tuple[str, ...], spotalis: Command
) -> None:
    code, _, err = spotalis("config", *flags)
    assert code == 2
    assert "specify either --show or --schema" in err


def test_every_setting_has_a_flag_and_the_help_shows_the_frequent_ones(
    spotalis: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = spotalis("controller", "--help")
    shown = set(re.findall(r"^  (?:-n, )?(--[a-z-]+)", out, re.MULTILINE))
    assert code == 0
    own = {"--kubeconfig", "--context", "--config"}
    assert shown == own | {f"--{SETTINGS[key].flag}" for key in FREQUENT}
    parser = Parser("spotalis controller", "")
    add_setting_flags(parser)
    for setting in SETTINGS.values():
        assert f"--{setting.flag}" in parser.flags
        assert (f"--no-{setting.flag}" in parser.flags) is (setting.type is BOOLEAN)


def test_the_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text() == markdown() + "\n", "run `make docs`"


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", markdown(), re.DOTALL)
    assert example is not None
    file = tmp_path / "spotalis.yaml"
    file.write_text(example[1])
    loaded = Sources(file=file, environment={}, flags={}).load()
    assert loaded.settings.controller.defaults["spot-percentage"] == "50"


def test_the_schema_describes_every_setting_and_nothing_else(spotalis: Command) -> None:
    code, out, _ = spotalis("config", "--schema")
    assert (code, json.loads(out)) == (0, json.loads(json.dumps(settings_schema())))

    def leaves(at: dict[str, Any], path: str) -> list[str]:
        assert at["additionalProperties"] is False
        found: list[str] = []
        for name, below in at["properties"].items():
            here = f"{path}.{name}" if path else name
            found += [here] if here in SETTINGS else leaves(below, here)
        return found

    assert leaves(settings_schema(), "") == list(SETTINGS)


def test_the_schema_accepts_durations_with_units_only() -> None:
    duration = SETTINGS["leaderElection.leaseDuration"].type.schema["pattern"]
    for text, taken in {"15s": True, "1h30m": True, "15": False, "": False, "5m1h": False}.items():
        assert bool(re.search(duration, text)) is taken, text


@pytest.mark.parametrize(
    ("argv", "unwanted"),
    [
        ("--help", {"asyncio", "argparse", "msgspec"}),
        ("version", {"asyncio"}),
        ("config --show", {"asyncio", "aiohttp"}),
        ("config --schema", {"asyncio", "aiohttp"}),
        ("controller --help", {"asyncio", "pathlib", "shutil", "cronsim", "zoneinfo", "yaml"}),
    ],
)
def test_printing_commands_do_not_import_what_they_do_not_need(
    argv: str, unwanted: set[str]
) -> None:
    program = (
        "import sys; [sys.modules.pop(name, None) for name in ('pathlib', 'shutil')]; "
        "from spotalis.cli.main import run; "
        f"assert run(['spotalis', *{argv.split()!r}]) == 0; "
        f"loaded = {unwanted!r} & set(sys.modules); assert not loaded, loaded"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
