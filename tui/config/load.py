"""Loads the settings from the settings file and the environment."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from registry.dataclass import replace
from registry.text import quoted_name, shown_name
from tui.config.named_views import NamedView
from tui.config.settings import Settings, settings_from
from tui.errors import UsageError
from tui.model.policy import POLICY_SETTINGS, Policy, PolicySetting

CONFIG_VARIABLE = "MUSTER_CONFIG"
"""The environment variable that names the settings file."""

_LARGEST = 1 << 20


class SettingsError(UsageError):
    """The settings file cannot be used.

    Attributes:
        path: The settings file.
        problems: Messages about the problems, each with a remedy.
        keys: The key bindings in the file, not checked.
        views: The named views in the file, whose filters, orders and keys are not checked.
    """

    def __init__(
        self,
        path: Path,
        problems: tuple[str, ...],
        keys: Mapping[str, str] | None = None,
        views: tuple[NamedView, ...] = (),
    ) -> None:
        super().__init__(
            f"{shown_name(path)} cannot be used:",
            *(f"  {problem}" for problem in problems),
            "`muster config --print` shows all settings.",
        )
        self.path = path
        self.problems = problems
        self.keys = keys or {}
        self.views = views


def settings_path(
    environment: Mapping[str, str], named: str | None = None
) -> tuple[Path | None, bool]:
    """Returns the path of the settings file.

    Args:
        environment: The environment variables.
        named: The value of ``--config``; None or empty without this option.

    Returns:
        Two values: the path, and whether the user named this path, so that the file must exist.
        The path is None if the user named no file and has no home directory.
    """
    given = named or environment.get(CONFIG_VARIABLE)
    if given:
        return Path(given), True
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        # The XDG base directory specification says to ignore a relative path.
        # Without HOME and an entry in the user database, the text stays as it is.
        base = Path(os.path.expanduser("~/.config"))
    if not base.is_absolute():
        return None, False
    return base / "muster" / "config.toml", False


def load_settings(environment: Mapping[str, str], named: str | None = None) -> Settings:
    """Loads the settings file; returns the defaults if the usual file does not exist.

    Args:
        environment: The environment variables.
        named: The value of ``--config``; None or empty without this option.

    Raises:
        SettingsError: The file cannot be read or is invalid, or the user named a missing file.
    """
    path, must_be_there = settings_path(environment, named)
    if path is None:
        return Settings()
    from tui.host.asker import Asker, NoAnswerError

    other = f"name another file with --config or {CONFIG_VARIABLE} (/dev/null: none)"
    try:
        text = Asker[str]().ask(lambda: _read(path))
    except NoAnswerError:
        raise SettingsError(path, (f"its file system does not answer; {other}",)) from None
    except FileNotFoundError:
        if not must_be_there:
            return Settings()
        raise SettingsError(path, ("the file does not exist; name another file",)) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if not must_be_there:
            why += f"; {other}"
        raise SettingsError(path, (why,)) from None
    # Imported only here: the import takes 10 ms, and most users have no settings file.
    import tomllib

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        advice = ""
        if "overwrite" in str(error).lower():
            advice = '; in [keys] put ids with a dot in quotes: "kill.tree" = "X"'
        raise SettingsError(
            path, (f"invalid TOML: {error or 'nested too deeply'}{advice}",)
        ) from None
    settings, problems = settings_from(table)
    if problems:
        raise SettingsError(path, problems, settings.keys, settings.views)
    return replace(settings, source=path)


def _read(path: Path) -> str:
    # O_NONBLOCK: opening a FIFO would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISFIFO(mode):
            raise ValueError("the settings file is not a regular file")
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError("the file is larger than a megabyte")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the text is not UTF-8: invalid byte at offset {error.start}") from None


def policy_from(environment: Mapping[str, str], base: Policy | None = None) -> Policy:
    """Returns a policy with the values that environment variables set.

    Each setting has a variable, for example ``MUSTER_START_GRACE`` for `start_grace`. Former names
    of variables work, too.

    Args:
        environment: The environment variables.
        base: The policy for values that no variable sets; None for the default policy.

    Raises:
        UsageError: A value is not a number or is too small, or the present and the former variable
            of one setting are both set.
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
    """Returns the name of the variable that sets a policy field; empty if no variable is set."""
    names = filter(None, (setting.variable, setting.former_variable))
    used = [name for name in names if environment.get(name)]
    if len(used) > 1:
        raise UsageError(
            f"{used[1]} is the former name of {used[0]}, and both are set; unset {used[1]}"
        )
    return used[0] if used else ""
