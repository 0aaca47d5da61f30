"""The template of the settings file: all settings as comments with their defaults. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from tui.config.settings import PLACEHOLDERS, THEMES
from tui.model.policy import POLICY_SETTINGS

_WIDE = 84
"""The largest width of a comment in the file, in characters."""


def default_text(bindings: Iterable[tuple[str, str, str]]) -> str:
    """Returns the text that `muster config --print` prints.

    Args:
        bindings: The id, the keys and the description of each key binding.
    """
    lines = _HEAD.format(
        themes=_wrapped(THEMES), variable=POLICY_SETTINGS[0].variable
    ).splitlines()
    for setting in POLICY_SETTINGS:
        former = f" Formerly {setting.former}." if setting.former else ""
        help_ = f"{setting.help} {setting.range}.{former}"
        lines += (f"# {line}" for line in textwrap.wrap(help_, _WIDE))
        lines.append(f"#{setting.name} = {setting.default:g}")
    lines += _NOTIFY.format(values=_wrapped(f"{{{name}}}" for name in PLACEHOLDERS)).splitlines()
    lines += _VIEWS.splitlines()
    lines += _KEYS.splitlines()
    width = max((len(f'#"{id_}" = "{keys}"') for id_, keys, _ in bindings), default=0)
    for id_, keys, description in bindings:
        entry = f'#"{id_}" = "{keys}"'
        lines.append(f"{entry:{width}}  # {description}")
    return "\n".join(lines) + "\n"


def _wrapped(words: Iterable[str]) -> str:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDE:
            lines.append("")
        lines[-1] += f"{word}, "
    return "\n# ".join(line.rstrip() for line in lines).rstrip(",")


_HEAD = """\
# Settings of muster. A line with # and a name shows a default. To change the value, remove
# the #. `muster config --check` lists the problems of the file.

# The colours of the monitor, one of:
# {themes}
#theme = "muster"

# Use only ASCII on the screen: true, false, or "auto" to decide by the locale.
#ascii = "auto"

# Refuse all changes, in the monitor and by kill, complete, undo and doctor --fix.
#read_only = false

# tmux servers that muster cannot query, and that have none of your agents. The note of an unknown
# agent names such a server, for example "1234@56789-0a1b2c3d".
#without_agents = []

[policy]
# The times that verdicts need, in seconds. An environment variable takes precedence, for example
# {variable}.
"""

_NOTIFY = """
[notify]
# How to notify when an agent becomes a zombie, stalls or fails: any of "toast" (on the
# screen), "bell", "osc9" (a notification of the terminal; inside tmux it needs tmux's
# option allow-passthrough), or [] for nothing.
#zombie = ["toast"]
#stalled = ["toast"]
#failed = ["toast"]
#blocked = ["toast"]
# The least number of seconds between two notifications, 1 to 3600. All events in this time cause
# one notification.
#pause = 10
# A command for each notification: a list of a program and its arguments, or a string that is
# split into words as by a shell. No shell runs. [] for no command. The arguments may contain
# {values}
# which are replaced by values. If the event concerns several agents, {{id}}, {{type}},
# {{task}} and {{workspace}} are lists with commas. Values come from registries: put "--"
# before a value that is a whole argument, as in ["notify-send", "--", "{{said}}"].
#on_zombie = []
#on_stalled = []
#on_failed = []
#on_blocked = []
# Seconds after which a running command is killed. 0.1 to 600.
#hook_timeout = 10
"""

_VIEWS = """
[views]
# Filters with a name. Each has a key and an entry in Ctrl-P. A view is a filter, or a table
# with any of the filter "where", the order "sort" (tree, urgency, age, progress, cpu, memory,
# heard, status) and the "key". Without a key, it gets the next free one of F2 to F12. Examples:
# mine = "status:blocked type:builder"
# hungry = {where = "-verdict:finished", sort = "memory", key = "f9"}
"""

_KEYS = """
[keys]
# A key or a list of keys for each action. The ids must be quoted. Keys are single
# characters, or names such as "ctrl+k", "f5", "space", "pageup".
"""
