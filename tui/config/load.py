"""Where the settings come from: a file, and the environment, which goes before it."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from registry.text import quoted_name, shown_name
from tui.config.settings import Settings, settings_from
from tui.errors import UsageError
from tui.model.policy import POLICY_SETTINGS, Policy, PolicySetting

CONFIG_VARIABLE = "MUSTER_CONFIG"
"""Names a settings file in place of the usual one."""

_LARGEST = 1 << 20


class SettingsError(UsageError):
    """A settings file that cannot be used.

    Attributes:
        path: Which.
        problems: What is wrong, each with what to do.
        keys: Those that it sets, which were not looked at yet.
    """

    def __init__(
        self, path: Path, problems: tuple[str, ...], keys: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(
            f"{shown_name(path)} cannot be used:",
            *(f"  {problem}" for problem in problems),
            "Nothing was done. `muster config --print` shows what can be set.",
        )
        self.path = path
        self.problems = problems
        self.keys = keys or {}


def settings_path(environment: Mapping[str, str], named: str | None = None) -> tuple[Path, bool]:
    """The settings file.

    Args:
        environment: The process's environment.
        named: What ``--config`` says.

    Returns:
        Its path, and whether somebody named it: then it must be there.
    """
    given = named or environment.get(CONFIG_VARIABLE)
    if given:
        return Path(given), True
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        # As the XDG base directory specification has it.
        base = Path("~/.config").expanduser()
    return base / "muster" / "config.toml", False


def load_settings(environment: Mapping[str, str], named: str | None = None) -> Settings:
    """The settings of the file that is meant; the defaults if there is none.

    Raises:
        SettingsError: There is none although one was named, it cannot be read, or
            something in it is wrong.
    """
    path, must_be_there = settings_path(environment, named)
    try:
        text = _read(path)
    except FileNotFoundError:
        if not must_be_there:
            return Settings()
        raise SettingsError(path, ("there is no such file",)) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if not must_be_there:
            why += f"; name another file with --config or {CONFIG_VARIABLE} (/dev/null: none)"
        raise SettingsError(path, (why,)) from None
    # Most have no settings file, and this takes ten milliseconds to import.
    import tomllib

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        advice = ""
        if "overwrite" in str(error).lower():
            advice = '; in [keys] put ids with a dot in quotes: "kill.tree" = "K"'
        raise SettingsError(path, (f"no TOML: {error or 'nested too deeply'}{advice}",)) from None
    settings, problems = settings_from(table)
    if problems:
        raise SettingsError(path, problems, settings.keys)
    return replace(settings, source=path)


def _read(path: Path) -> str:
    # A FIFO would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISFIFO(mode):
            raise ValueError("it is no file")
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError("it is larger than a megabyte")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8: byte {error.start}") from None


def policy_from(environment: Mapping[str, str], base: Policy | None = None) -> Policy:
    """The policy, with what the environment sets of it.

    Each field is set by a variable, in seconds: `start_grace` by
    ``MUSTER_START_GRACE``, and so on. A variable of a former name still works.

    Args:
        environment: The process's environment.
        base: What holds where the environment says nothing; the default if None.

    Raises:
        UsageError: A value is not a number, or less than is safe, or a setting has a value
            under both of its names.
    """
    given: dict[str, float] = {}
    for setting in POLICY_SETTINGS:
        variable = _variable_of(setting, environment)
        if not variable:
            continue
        text = environment[variable]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not setting.least <= value < math.inf:
            raise UsageError(
                f"{variable} must be {setting.least:g} {setting.unit} or more, "
                f"not {quoted_name(text, 80)}"
            )
        given[setting.name] = value
    return replace(base or Policy(), **given)


def _variable_of(setting: PolicySetting, environment: Mapping[str, str]) -> str:
    """The variable that sets a field, by its name or by its former one; empty if none does."""
    names = filter(None, (setting.variable, setting.former_variable))
    used = [name for name in names if environment.get(name)]
    if len(used) > 1:
        raise UsageError(
            f"{used[1]} is the former name of {used[0]}, and both are set; unset {used[1]}"
        )
    return used[0] if used else ""
