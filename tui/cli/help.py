"""What `muster --help` and `muster COMMAND --help` are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from registry.schema import ENVIRONMENT_VARIABLE
from tui.model.policy import POLICY_SETTINGS


@dataclass(frozen=True, slots=True)
class Command:
    """One command in the table of all commands.

    Attributes:
        words: What must or may stand behind its name.
        line: What it does, in a few words.
    """

    words: str
    line: str


@dataclass(frozen=True, slots=True)
class Page:
    """What is said of one command.

    Attributes:
        text: What it does.
        examples: Command lines, each with what it is good for.
        codes: What its exit codes mean, where that is not what they mean elsewhere.
        more: What stands at the end.
    """

    text: str
    examples: tuple[tuple[str, str], ...] = ()
    codes: str = ""
    more: str = ""


_MONITOR = Command("[WORKSPACE...]", "the monitor; `?` shows its keys")

_OVERVIEW = f"""\
Calls the roll of the AI agents on this host: what their registries say against
what tmux has.

{{}}

`muster COMMAND --help` tells more of each.

A WORKSPACE is a .agent-workspace, a directory that holds one, or one registry
file. Without any: those in {ENVIRONMENT_VARIABLE} (colon-separated), or else the
nearest .agent-workspace from here upward."""

_EXAMPLES = (
    ("muster", "the monitor on the nearest workspace"),
    ("muster -L work ~/one ~/two", "two workspaces, and the tmux server of that name"),
    ("muster list --where verdict:zombie,stalled", "who needs looking after, without a screen"),
)

_CODES = (
    "0 done; 1 not all was done, or nobody could tell whom to do it to; 2 wrong usage\n"
    "  or nothing found; 130 interrupted"
)

_TIMES = textwrap.fill(
    ", ".join(each.variable for each in POLICY_SETTINGS),
    80,
    initial_indent="  ",
    subsequent_indent="  ",
)

_ENVIRONMENT = f"""\
environment:
  {ENVIRONMENT_VARIABLE:<19}workspaces, where none is named; separated by colons
{_TIMES}
                     when a verdict is certain enough, in seconds; before the settings
  MUSTER_CONFIG      the settings file
  TMUX, TMUX_TMPDIR  which socket, as for tmux; -L and -S come first
  NO_COLOR           no colours in the monitor

files, in a workspace:
  registry/GLOBAL_REGISTRY.json      all tasks and agents
  TASK/AGENT_REGISTRY.json           the agents of one task
  TASK/progress, findings, logs      what each agent writes, one JSON a line
  registry/muster_audit.jsonl        what was done with muster
  .AGENT_REGISTRY.json.journal       of commits, beside each registry"""


def overview(commands: Mapping[str, Command]) -> Page:
    """The first page, of the monitor: it names every command.

    Args:
        commands: By name, in the order in which they are listed.
    """
    listed_commands = {"": _MONITOR, **commands}
    usages = {f"{name} {each.words}".strip(): each.line for name, each in listed_commands.items()}
    wide = max(map(len, usages)) + 2
    listed = "\n".join(f"  muster {usage:{wide}}{line}" for usage, line in usages.items())
    return Page(_OVERVIEW.format(listed), _EXAMPLES, more=_ENVIRONMENT)


def epilog(page: Page) -> str:
    """What stands below the options."""
    parts = []
    if page.examples:
        wide = max(len(example) for example, _ in page.examples) + 2
        lines = (f"  {example:{wide}}{says}".rstrip() for example, says in page.examples)
        parts.append("\n".join(("examples:", *lines)))
    parts.append(f"exit codes:\n  {page.codes or _CODES}")
    return "\n\n".join(filter(None, (*parts, page.more)))
