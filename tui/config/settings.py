"""The settings as records, and the checks of the values in a settings file. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry.dataclass import dataclass, field
from registry.text import shown_name
from tui.config.named_views import NamedView, checked_views
from tui.model.policy import FORMER_KEYS, POLICY_SETTINGS, Policy

THEMES = (
    "muster",
    "muster-light",
    "textual-dark",
    "textual-light",
    "nord",
    "gruvbox",
    "dracula",
    "tokyo-night",
    "monokai",
    "solarized-dark",
    "solarized-light",
    "catppuccin-mocha",
    "catppuccin-latte",
)
"""The names of the themes: first muster's own themes, then Textual's."""

KINDS = ("zombie", "stalled", "failed", "blocked")
"""The changes of an agent that cause a notification."""

WAYS = ("toast", "bell", "osc9")
"""The ways to notify: on the screen, with the terminal's bell, as a desktop notification."""

PLACEHOLDERS = ("id", "type", "task", "workspace", "kind", "count", "said", "host")
"""The names in braces that the arguments of a notification's command may contain."""

_LONGEST_KEY = 64
_LONGEST_PAUSE = 3600.0
_LONGEST_HOOK = 600.0


@dataclass(frozen=True, slots=True)
class Notify:
    """The settings for notifications.

    Attributes:
        ways: Maps each of `KINDS` to the ways to notify; no ways for no notification.
        hooks: Maps each of `KINDS` to a command and its arguments; empty for no command.
        pause: The shortest time between two notifications of one kind, in seconds.
        hook_timeout: Seconds after which a running command is killed.
    """

    ways: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: dict.fromkeys(KINDS, ("toast",))
    )
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(KINDS, ()))
    pause: float = 10.0
    hook_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the monitor.

    Attributes:
        theme: One of `THEMES`.
        ascii: Whether the screen shows only ASCII; if None, the locale decides.
        read_only: Whether muster refuses all changes of agents and files.
        without_agents: The tmux servers that, as the operator says, have none of the agents. The
            names have the format of `tui.host.server_token`.
        policy: The times that a verdict needs.
        keys: Maps the id of a binding to the user's keys, separated by commas.
        notify: The settings for notifications.
        views: The named views.
        theme_is_set: Whether the settings file names the theme.
        source: The settings file, or None for the defaults.
    """

    theme: str = THEMES[0]
    ascii: bool | None = None
    read_only: bool = False
    policy: Policy = field(default_factory=Policy)
    keys: Mapping[str, str] = field(default_factory=dict)
    notify: Notify = field(default_factory=Notify)
    source: Path | None = None
    without_agents: tuple[str, ...] = ()
    views: tuple[NamedView, ...] = ()
    theme_is_set: bool = field(default=False, compare=False)


def settings_from(table: Mapping[str, Any]) -> tuple[Settings, tuple[str, ...]]:
    """Makes settings from the content of a TOML file.

    The ids of bindings and the names of keys are not checked.

    Args:
        table: The table that `tomllib` returned.

    Returns:
        Two values: the settings, with the default instead of each invalid value; and a message
        for each invalid value, which names the setting and the remedy.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name == "keys":
            values["keys"] = _checked_keys(value, problems)
        elif name == "views":
            values["views"] = checked_views(value, problems)
        elif name in _SECTIONS:
            _take_section(name, value, values, problems)
        else:
            _take(name, value, values, problems)
    default = Notify()
    notify = Notify(
        {kind: values.get(f"notify.{kind}", default.ways[kind]) for kind in KINDS},
        {kind: values.get(f"notify.on_{kind}", ()) for kind in KINDS},
        values.get("notify.pause", default.pause),
        values.get("notify.hook_timeout", default.hook_timeout),
    )
    policy = {
        setting.name: values[setting.key] for setting in POLICY_SETTINGS if setting.key in values
    }
    settings = Settings(
        values.get("theme", THEMES[0]),
        values.get("ascii"),
        values.get("read_only", False),
        Policy(**policy),
        values.get("keys", {}),
        notify,
        without_agents=values.get("without_agents", ()),
        views=values.get("views", ()),
        theme_is_set="theme" in values,
    )
    return settings, tuple(problems)


def _take_section(name: str, table: Any, values: dict[str, Any], problems: list[str]) -> None:
    if not isinstance(table, dict):
        problems.append(f"{name}: must be a table, [{name}], not {_shown(table)}")
        return
    for key, value in table.items():
        _take(f"{name}.{key}", value, values, problems)
    keys = {f"{name}.{key}" for key in table}
    for former, key in FORMER_KEYS.items():
        if former in keys and key in keys:
            values.pop(key, None)
            problems.append(
                f"{former}: is the former name of {key}; both are set: remove {former}"
            )


def _take(key: str, value: Any, values: dict[str, Any], problems: list[str]) -> None:
    name = FORMER_KEYS.get(key, key)
    check = _CHECKS.get(name)
    if check is None:
        problems.append(f"{key}: unknown setting; {meant(key, _ALL_KEYS)}")
        return
    try:
        values[name] = check(value)
    except ValueError as error:
        problems.append(f"{key}: {error}")


def meant(word: str, known: tuple[str, ...]) -> str:
    """Returns a hint for an unknown word: a similar known word, or how to list all words."""
    import difflib  # Imported only here, because the import is slow.

    similar = difflib.get_close_matches(word, known, 1) if len(word) <= _LONGEST_KEY else []
    if not similar:
        # The name is known, but in another section.
        similar = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    similar = [FORMER_KEYS.get(name, name) for name in similar]
    if similar:
        return f"did you mean {similar[0]}?"
    return "`muster config --print` lists all names"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _checked_keys(value: Any, problems: list[str]) -> Mapping[str, str]:
    if not isinstance(value, dict):
        problems.append(f"keys: must be a table, [keys], not {_shown(value)}")
        return {}
    keys: dict[str, str] = {}

    def take(table: Mapping[str, Any], prefix: str) -> None:
        for name, entry in table.items():
            id_ = prefix + name
            if isinstance(entry, dict):
                # TOML splits an id without quotes at its dots.
                take(entry, f"{id_}.")
                continue
            words = entry if isinstance(entry, list) else [entry]
            if all(isinstance(word, str) and word.strip() for word in words) and words:
                keys[id_] = ",".join("comma" if word == "," else word for word in words)
            else:
                where = f"keys.{id_}"
                why = f"must be a key, or a list of keys, not {_shown(entry)}"
                problems.append(f"{where}: {why}")

    take(value, "")
    return keys


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def _servers(value: Any) -> tuple[str, ...]:
    from tui.host.server_token import is_token

    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"must be a list of servers, not {_shown(value)}")
    for word in value:
        if not is_token(word):
            example = '"1234@56789-0a1b2c3d"'
            raise ValueError(
                f"must name servers as muster's messages do, for example {example}, "
                f"not {_shown(word)}"
            )
    return tuple(value)


def _ascii(value: Any) -> bool | None:
    if value != "auto" and not isinstance(value, bool):
        raise ValueError(f'must be true, false or "auto", not {_shown(value)}')
    return None if value == "auto" else value


def _theme(value: Any) -> str:
    if not isinstance(value, str) or value not in THEMES:
        raise ValueError(f"must be one of {', '.join(THEMES)}, not {_shown(value)}")
    return value


def _seconds(least: float, most: float = math.inf) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        up_to = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
        refused = ValueError(f"must be a number of seconds, {up_to}, not {_shown(value)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refused
        try:
            number = float(value)
        except OverflowError:
            raise refused from None
        if not least <= number <= most or math.isinf(number):
            raise refused
        return number

    return check


def _ways(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(way in WAYS for way in value):
        some = ", ".join(f'"{way}"' for way in WAYS)
        raise ValueError(f"must be a list with any of {some}, or [], not {_shown(value)}")
    return tuple(dict.fromkeys(value))


def _command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        import shlex

        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {error}; write a list") from None
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = value
    else:
        raise ValueError(f"must be a list of a program and its arguments, not {_shown(value)}")
    if any("\0" in word for word in words):
        raise ValueError("must not contain a NUL character")
    if words and (not words[0] or "{" in words[0]):
        raise ValueError("must start with the name of a program, without a value in braces")
    for word in words:
        for name in _braced(word):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
                raise ValueError(f"{{{shown_name(name, 40)}}} is unknown; use one of {known}")
    return tuple(words)


def _braced(word: str) -> list[str]:
    """Returns the identifiers in braces; ignores other text in braces."""
    parts = word.split("{")[1:]
    names = [part.partition("}")[0] for part in parts if "}" in part]
    return [name for name in names if name.isidentifier()]


def filled(command: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Returns a notification's command with the names in braces replaced by values.

    Each argument stays one argument. Names in braces inside a value are not replaced.
    """
    return [command[0], *(_filled_word(word, values) for word in command[1:])]


def _filled_word(word: str, values: Mapping[str, str]) -> str:
    first, *rest = word.split("{")
    done = [first]
    for part in rest:
        name, closed, after = part.partition("}")
        done.append(values[name] + after if closed and name in values else "{" + part)
    return "".join(done)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "theme": _theme,
    "ascii": _ascii,
    "read_only": _flag,
    "without_agents": _servers,
    **{setting.key: _seconds(setting.least) for setting in POLICY_SETTINGS},
    **{f"notify.{kind}": _ways for kind in KINDS},
    **{f"notify.on_{kind}": _command for kind in KINDS},
    "notify.pause": _seconds(1.0, _LONGEST_PAUSE),
    "notify.hook_timeout": _seconds(0.1, _LONGEST_HOOK),
}

_SECTIONS = ("policy", "notify")
_ALL_KEYS = (*_CHECKS, *FORMER_KEYS, "keys", "views", *_SECTIONS)
