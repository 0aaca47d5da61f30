"""Tests of loading the settings."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from tests.support.terminal import MUSTER
from tui.cli.main import main
from tui.config.load import SettingsError, load_settings, policy_from, settings_path
from tui.config.settings import Settings
from tui.errors import UsageError
from tui.model.policy import POLICY_SETTINGS, Policy, PolicySetting


def test_nothing_set_is_the_default() -> None:
    assert policy_from({"MUSTER_WORKSPACES": "/x", "MUSTER_PROOF": ""}) == Policy()


@pytest.mark.parametrize("setting", POLICY_SETTINGS)
def test_each_is_set_by_its_variable_and_by_its_former_one(setting: PolicySetting) -> None:
    for variable in filter(None, (setting.variable, setting.former_variable)):
        assert policy_from({variable: "7.5"}) == replace(Policy(), **{setting.name: 7.5})


@pytest.mark.parametrize("setting", [each for each in POLICY_SETTINGS if each.former])
def test_both_variables_of_one_time_are_an_error_that_names_both(setting: PolicySetting) -> None:
    both = {setting.variable: "7", setting.former_variable: "7"}
    with pytest.raises(UsageError, match=rf"{setting.former_variable} .* {setting.variable}"):
        policy_from(both)
    # A variable that is empty sets nothing.
    assert policy_from(both | {setting.variable: ""}) != Policy()


def test_the_environment_goes_before_the_file_whatever_the_names() -> None:
    base = Policy(death_confirmation=3.0)
    assert policy_from({"MUSTER_PROOF": "2"}, base).death_confirmation == 2.0


@pytest.mark.parametrize("text", ["0", "0.7", "-1", "nan", "inf", "soon", "1e999"])
def test_no_death_is_proven_for_less(text: str) -> None:
    with pytest.raises(UsageError, match=r"MUSTER_PROOF must be 0.75 seconds or more"):
        policy_from({"MUSTER_PROOF": text})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for settings, without a file."""
    monkeypatch.delenv("MUSTER_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none yet"))
    return tmp_path / "none yet" / "muster" / "config.toml"


def test_a_file_with_the_defaults_is_made_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--init"]) == 0
    assert main(["config", "--print"]) == 0
    assert capsys.readouterr().out == f"{home} was created\n{home.read_text()}"
    home.write_text("ascii = true\n")
    assert main(["config", "--init"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert home.read_text() == "ascii = true\n"
    assert main(["config", "--check"]) == 0


def test_a_full_disk_leaves_no_half_of_it(home: Path) -> None:
    # In a process of its own: the limit is for its output as well, where that is a file.
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *MUSTER, "config", "--init"]
    # Compiled modules are files, too: Python would be ended before it can say anything.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        limited, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode != 0 and str(home.parent) in done.stderr
    assert not list(home.parent.iterdir())
    assert main(["config", "--init"]) == 0
    assert list(home.parent.iterdir()) == [home]
    assert main(["config", "--check"]) == 0


def test_everything_that_is_wrong_is_named_at_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.parent.mkdir(parents=True)
    home.write_text(
        'theme = "no"\n[keys]\n"kill.tree" = "space"\n"no.such" = "x"\n"quit" = "!!!"\n'
    )
    assert main(["config", "--check"]) == 2
    said = capsys.readouterr().err
    for wrong in ("theme", "keys.kill.tree", "keys.no.such", "keys.quit"):
        assert wrong in said


def test_unreadable_settings_come_with_a_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tui.config.load._read", refused)
    with pytest.raises(SettingsError, match=r"Permission denied; name another file with --config"):
        load_settings({"XDG_CONFIG_HOME": str(home.parent.parent)})


def test_the_guide_has_every_time_of_the_policy() -> None:
    guide = Path(__file__).parents[3] / "tui" / "README.md"
    lines = guide.read_text(encoding="utf-8").splitlines()
    rows = [
        f"| `{each.name}` | {f'`{each.former}`' if each.former else ''} "
        f"| {each.default:g} | {each.least:g} | {each.help} |"
        for each in POLICY_SETTINGS
    ]
    assert [line for line in lines if line in rows] == rows


def test_a_user_without_a_home_has_the_default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", mock.Mock(side_effect=KeyError))
    assert settings_path({}) == (None, False)
    assert load_settings({}) == Settings()
    assert settings_path({}, "mine.toml") == (Path("mine.toml"), True)
