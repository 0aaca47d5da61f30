"""The settings: what a user may set in a file, and what is wrong with one. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.text import shown_name
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
"""Ours first, then those of Textual's that were looked at."""

KINDS = ("zombie", "stalled", "failed")
"""What an agent may become that is worth a note."""

WAYS = ("toast", "bell", "osc9")
"""How a note is given: on the screen, by the terminal's bell, by its desktop's note."""

PLACEHOLDERS = ("id", "type", "task", "workspace", "kind", "count", "said", "host")
"""Names in braces that a hook's arguments may hold."""

_LONGEST_KEY = 64
_LONGEST_PAUSE = 3600.0
_LONGEST_HOOK = 600.0


@dataclass(frozen=True, slots=True)
class Notify:
    """When and how the monitor tells of an agent that needs somebody.

    Attributes:
        ways: By what it became, how that is told; empty for not at all.
        hooks: By what it became, the command that is run; empty for none.
        pause: Seconds between two notes; what comes meanwhile becomes one.
        hook_timeout: Seconds until a hook that goes on is ended.
    """

    ways: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"zombie": ("toast",), "stalled": ("toast",), "failed": ("toast",)}
    )
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(KINDS, ()))
    pause: float = 10.0
    hook_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All that is set in a file.

    Attributes:
        theme: One of `THEMES`.
        ascii: Nothing beyond ASCII on the screen; None for what the locale says.
        read_only: Nothing can be changed from here.
        policy: When a verdict is sure enough.
        keys: Keys by the id of their binding, separated by commas.
        source: The file that they come from, or None.
    """

    theme: str = THEMES[0]
    ascii: bool | None = None
    read_only: bool = False
    policy: Policy = field(default_factory=Policy)
    keys: Mapping[str, str] = field(default_factory=dict)
    notify: Notify = field(default_factory=Notify)
    source: Path | None = None


def settings_from(table: Mapping[str, Any]) -> tuple[Settings, tuple[str, ...]]:
    """Settings from what a TOML file holds.

    Args:
        table: As `tomllib` reads it.

    Returns:
        The settings, the default in place of whatever is wrong, and of each of these
        the key, what is wrong and what to do. Keys' ids and names are not looked at.
    """
    problems: list[str] = []
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name == "keys":
            found["keys"] = _checked_keys(value, problems)
        elif name in _SECTIONS:
            _take_section(name, value, found, problems)
        else:
            _take(name, value, found, problems)
    default = Notify()
    notify = Notify(
        {kind: found.get(f"notify.{kind}", default.ways[kind]) for kind in KINDS},
        {kind: found.get(f"notify.on_{kind}", ()) for kind in KINDS},
        found.get("notify.pause", default.pause),
        found.get("notify.hook_timeout", default.hook_timeout),
    )
    times = {each.name: found[each.key] for each in POLICY_SETTINGS if each.key in found}
    settings = Settings(
        found.get("theme", THEMES[0]),
        found.get("ascii"),
        found.get("read_only", False),
        Policy(**times),
        found.get("keys", {}),
        notify,
    )
    return settings, tuple(problems)


def _take_section(name: str, value: Any, found: dict[str, Any], problems: list[str]) -> None:
    if not isinstance(value, dict):
        problems.append(f"{name}: must be a table, [{name}], not {_shown(value)}")
        return
    for key, each in value.items():
        _take(f"{name}.{key}", each, found, problems)
    keys = {f"{name}.{key}" for key in value}
    for former, key in FORMER_KEYS.items():
        if former in keys and key in keys:
            found.pop(key, None)
            problems.append(f"{former}: is the former name of {key}, which is set too; remove one")


def _take(key: str, value: Any, found: dict[str, Any], problems: list[str]) -> None:
    name = FORMER_KEYS.get(key, key)
    check = _CHECKS.get(name)
    if check is None:
        problems.append(f"{key}: there is no such setting; {meant(key, _ALL_KEYS)}")
        return
    try:
        found[name] = check(value)
    except ValueError as error:
        problems.append(f"{key}: {error}")


def meant(word: str, known: tuple[str, ...]) -> str:
    """What may have been meant by a word that is not known."""
    import difflib  # Only for who mistyped: it takes longer than all the rest here.

    near = difflib.get_close_matches(word, known, 1) if len(word) <= _LONGEST_KEY else []
    if not near:
        # Right, but in no section or in another one.
        near = [each for each in known if each.rpartition(".")[2] == word.rpartition(".")[2]]
    near = [FORMER_KEYS.get(each, each) for each in near]
    return f"did you mean {near[0]}?" if near else "`muster config --print` lists all"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _checked_keys(value: Any, problems: list[str]) -> Mapping[str, str]:
    if not isinstance(value, dict):
        problems.append(f"keys: must be a table, [keys], not {_shown(value)}")
        return {}
    keys: dict[str, str] = {}

    def take(table: Mapping[str, Any], prefix: str) -> None:
        for name, each in table.items():
            id_ = prefix + name
            if isinstance(each, dict):
                # TOML takes an id that is not quoted apart at its dots.
                take(each, f"{id_}.")
                continue
            words = each if isinstance(each, list) else [each]
            if all(isinstance(word, str) and word.strip() for word in words) and words:
                keys[id_] = ",".join("comma" if word == "," else word for word in words)
            else:
                where = f"keys.{id_}"
                why = f"must be a key, or a list of keys, not {_shown(each)}"
                problems.append(f"{where}: {why}")

    take(value, "")
    return keys


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


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
    if not isinstance(value, list) or not all(each in WAYS for each in value):
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
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        words = value
    else:
        raise ValueError(f"must be a list of a program and its arguments, not {_shown(value)}")
    if any("\0" in word for word in words):
        raise ValueError("must hold no NUL")
    if words and (not words[0] or "{" in words[0]):
        raise ValueError("must begin with a program's name, without a value in braces")
    for word in words:
        for name in _braced(word):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                raise ValueError(f"{{{shown_name(name, 40)}}} is no value; there are {known}")
    return tuple(words)


def _braced(word: str) -> list[str]:
    """Names in braces; braces around anything else are left alone."""
    parts = word.split("{")[1:]
    names = [part.partition("}")[0] for part in parts if "}" in part]
    return [name for name in names if name.isidentifier()]


def filled(command: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """A hook's words with values in place of the names in braces.

    Each word stays one word whatever the values hold, and no value is looked at for
    names again.
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
    **{each.key: _seconds(each.least) for each in POLICY_SETTINGS},
    **{f"notify.{kind}": _ways for kind in KINDS},
    **{f"notify.on_{kind}": _command for kind in KINDS},
    "notify.pause": _seconds(1.0, _LONGEST_PAUSE),
    "notify.hook_timeout": _seconds(0.1, _LONGEST_HOOK),
}

_SECTIONS = ("policy", "notify")
_ALL_KEYS = (*_CHECKS, *FORMER_KEYS, "keys", *_SECTIONS)
