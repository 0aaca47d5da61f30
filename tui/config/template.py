"""The documented default file: every setting as a comment that can be taken out. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from tui.config.settings import PLACEHOLDERS, THEMES
from tui.model.policy import POLICY_SETTINGS

_WIDE = 84
"""Characters of a comment in the file, at most."""


def default_text(bindings: Iterable[tuple[str, str, str]]) -> str:
    """The file that `muster config --print` prints.

    Args:
        bindings: Of each binding its id, its keys and what it does.
    """
    lines = _HEAD.format(
        themes=_wrapped(THEMES), variable=POLICY_SETTINGS[0].variable
    ).splitlines()
    for each in POLICY_SETTINGS:
        former = f" Formerly {each.former}." if each.former else ""
        says = f"{each.help} {each.range}.{former}"
        lines += (f"# {line}" for line in textwrap.wrap(says, _WIDE))
        lines.append(f"#{each.name} = {each.default:g}")
    lines += _NOTIFY.format(values=_wrapped(f"{{{each}}}" for each in PLACEHOLDERS)).splitlines()
    lines += _KEYS.splitlines()
    width = max((len(f'#"{id_}" = "{keys}"') for id_, keys, _ in bindings), default=0)
    for id_, keys, says in bindings:
        entry = f'#"{id_}" = "{keys}"'
        lines.append(f"{entry:{width}}  # {says}")
    return "\n".join(lines) + "\n"


def _wrapped(words: Iterable[str]) -> str:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDE:
            lines.append("")
        lines[-1] += f"{word}, "
    return "\n# ".join(line.rstrip() for line in lines).rstrip(",")


_HEAD = """\
# Settings of muster. A line that begins with # and a name shows the default: take the #
# away to change it. `muster config --check` says what is wrong with the file.

# Colours of the monitor: one of
# {themes}
#theme = "muster"

# Nothing beyond ASCII on the screen: true, false, or "auto" for what the locale says.
#ascii = "auto"

# Nothing can be changed: neither in the monitor nor by kill, complete, undo, doctor --fix.
#read_only = false

[policy]
# When a verdict is certain enough, in seconds. The environment goes before these:
# {variable} and so on.
"""

_NOTIFY = """
[notify]
# What tells of an agent that becomes a zombie, stalls or fails: any of "toast" (on the
# screen), "bell", "osc9" (the terminal's own note; inside tmux that needs its option
# allow-passthrough), or [] for nothing.
#zombie = ["toast"]
#stalled = ["toast"]
#failed = ["toast"]
# Seconds between two notes; what happens meanwhile becomes one. 1 to 3600.
#pause = 10
# A command that is run as well: a list of a program and its arguments, or a string that
# is split into these as a shell would. No shell runs. [] for none. In its arguments
# {values}
# stand for values; of several agents {{id}}, {{type}}, {{task}} and {{workspace}} are
# separated by commas. Values come from registries: put "--" before one that is an
# argument of its own, as in ["notify-send", "--", "{{said}}"].
#on_zombie = []
#on_stalled = []
#on_failed = []
# Seconds until a command that goes on is ended. 0.1 to 600.
#hook_timeout = 10
"""

_KEYS = """
[keys]
# A key or a list of keys by what it does; the ids need their quotes. Keys are single
# characters, or names such as "ctrl+k", "f5", "space", "pageup".
"""
