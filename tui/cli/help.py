"""The texts of `muster --help` and `muster COMMAND --help`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from registry.schema import ENVIRONMENT_VARIABLE


# Named tuples, because every command imports this module, and defining a dataclass takes longer.
class Command(NamedTuple):
    """One command in the table of all commands.

    Attributes:
        words: The arguments, as the help shows them after the command's name.
        line: A short description of the command.
    """

    words: str
    line: str


class Page(NamedTuple):
    """The help page of one command.

    Attributes:
        text: The description of the command.
        examples: Command lines, each with its purpose; the purpose may be empty.
        codes: The meaning of the exit codes; empty if they have the usual meaning.
        more: The text at the end.
    """

    text: str
    examples: tuple[tuple[str, str], ...] = ()
    codes: str = ""
    more: str = ""


_MONITOR = Command("[WORKSPACE...]", "open the monitor; `?` shows its keys")

_OVERVIEW = f"""\
Monitors the AI agents on this host: compares the registries with the sessions that
tmux has.

{{}}

`muster COMMAND --help` explains a command.

A WORKSPACE is a .agent-workspace directory, a directory that contains one, or one
registry file. Without a WORKSPACE, muster uses the workspaces in the variable
{ENVIRONMENT_VARIABLE} (separated by colons). If this variable is not set, muster uses
the .agent-workspace of this directory or of the nearest parent directory. If there is
none, muster uses all workspaces that the orchestrator knows."""

_EXAMPLES = (
    ("muster", "the monitor on the nearest workspace"),
    ("muster --where verdict:zombie,stalled", "the monitor, with only these agents"),
    ("muster -L work ~/one ~/two", "two workspaces, and the tmux server of that name"),
    ("muster list --where verdict:zombie,stalled", "agents with a problem, without a screen"),
)

_CODES = (
    "0 done; 1 not all was done, or the agents could not be determined; 2 wrong usage\n"
    "  or nothing found; 130 interrupted"
)

_ENVIRONMENT = """\
environment:
  {workspaces:<19}the workspaces if none is named; separated by colons
{times}
                     times that verdicts need, in seconds; they replace the settings
  MUSTER_CONFIG      the settings file
  TMUX, TMUX_TMPDIR  the socket, as for tmux; -L and -S replace it
  NO_COLOR           no colours

files, in a workspace:
  registry/GLOBAL_REGISTRY.json      all tasks and agents
  TASK/AGENT_REGISTRY.json           the agents of one task
  TASK/progress, findings, logs      the output of each agent, one JSON object a line
  registry/muster_audit.jsonl        the audit log: all changes that muster made
  .AGENT_REGISTRY.json.journal       the journal of commits, beside each registry"""


def overview(commands: Mapping[str, Command]) -> Page:
    """Returns the help page of `muster` without a command, which lists all commands.

    Args:
        commands: All commands by name, in the order of the list.
    """
    listed_commands = {"": _MONITOR, **commands}
    usages = {
        f"{name} {command.words}".strip(): command.line
        for name, command in listed_commands.items()
    }
    wide = max(map(len, usages)) + 2
    listed = "\n".join(f"  muster {usage:{wide}}{line}" for usage, line in usages.items())
    return Page(_OVERVIEW.format(listed), _EXAMPLES, more=_environment())


def _environment() -> str:
    """Returns the part of the overview about environment variables and files."""
    # Imported here because only the overview needs them.
    import textwrap

    from tui.model.policy import POLICY_SETTINGS

    times = textwrap.fill(
        ", ".join(setting.variable for setting in POLICY_SETTINGS),
        80,
        initial_indent="  ",
        subsequent_indent="  ",
    )
    return _ENVIRONMENT.format(workspaces=ENVIRONMENT_VARIABLE, times=times)


def codes_of(page: Page) -> str:
    """Returns the meaning of the exit codes of a command."""
    return page.codes or _CODES


def epilog(page: Page) -> str:
    """Returns the text below the options: examples, exit codes and `more`."""
    parts = []
    if page.examples:
        wide = max(len(example) for example, _ in page.examples) + 2
        lines = (f"  {example:{wide}}{says}".rstrip() for example, says in page.examples)
        parts.append("\n".join(("examples:", *lines)))
    parts.append(f"exit codes:\n  {codes_of(page)}")
    return "\n\n".join(filter(None, (*parts, page.more)))
