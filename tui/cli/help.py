"""What `muster --help` and `muster COMMAND --help` say."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from registry.schema.layout import ENVIRONMENT_VARIABLE
from tui.model.policy import POLICY_SETTINGS
from tui.model.verdicts import verdict_lines
from tui.view.sort import urgency_words

_URGENT = ", ".join(urgency_words())

_VERDICTS = "\n".join(f"  {line}" for line in verdict_lines())


@dataclass(frozen=True, slots=True)
class Page:
    """What is said of one command.

    Attributes:
        usage: Its name and what must stand behind it.
        line: What it does, in a few words.
        text: What it does.
        examples: Command lines, each with what it is good for.
        codes: What its exit codes mean, where that is not what they mean elsewhere.
    """

    usage: str
    line: str
    text: str
    examples: tuple[tuple[str, str], ...] = ()
    codes: str = ""


COMMANDS: dict[str, Page] = {
    "list": Page(
        "list",
        "the same roll once, as a table or as JSON",
        f"""\
Calls the roll once and prints it: a verdict on every agent, orphaned sessions, what
cannot be read. With --json in a shape that scripts can rely on: `schema` grows when a
field changes its meaning or goes, and new fields may come.

--where chooses by a filter, as `/` does in the monitor:

  word             in an id, type, task, status, verdict or session
  KEY:value        in that field: id, type, task, status, verdict, session, parent,
                   workspace
  -word -KEY:value not so
  one,other        either; also KEY:one,other
  "two words"      as they stand; also KEY:"two words"

All of it must match, whatever the case; a part of a word is enough. Registries that
cannot be read are listed all the same, and the counts are of the whole roll. JSON has
what was left out by in `filter` (`where`, `hide_finished`), or null there.

--sort puts agents in that order within their task, and tasks by their first agent:
urgency ({_URGENT}),
age (the oldest first), progress (the least first), id.

The verdicts, in the order in which they are counted:

{_VERDICTS}""",
        (
            ("muster list --where verdict:zombie,stalled", "who needs looking after"),
            ("muster list --hide-finished --sort urgency", "everybody at work, the worst first"),
            ("muster list --json --where 'type:fixer -status:blocked'", "for a script"),
        ),
        "0 it could list, whatever tmux and the files said (`tmux.state`, `error`); 2 wrong usage",
    ),
    "show": Page(
        "show AGENT",
        "everything about one agent",
        """\
Prints all that is known of one agent: the verdict and why, every field of its entry
with times in words, its session and processes, parent and children, its files, its
last reports and findings, and what was done to it with muster. AGENT is a whole id.
Of agents that are there twice under one id, the one that is at work.""",
        (
            ("muster show fixer-215911-8c90c7", "why is it a zombie?"),
            ("muster show fixer-215911-8c90c7 --json | jq .entry.prompt", "one field of it"),
        ),
    ),
    "tail": Page(
        "tail AGENT",
        "what one agent reports, finds and says, also as it goes on",
        """\
Prints the last progress reports, findings and lines of the stream log of an agent,
merged by their times; lines without a time come after the one before them. With
--follow it goes on until it is interrupted; files that come later, are replaced or are
cut are followed too. A last line that is still being written is waited for. Lines that
are no JSON are counted; those of the log are printed as they are. Asks no tmux.
With --json one object a line: `source`, `timestamp` as written, `at` in seconds since
the epoch, and what the line holds.""",
        (
            ("muster tail -f fixer-215911-8c90c7", "what is it doing?"),
            ("muster tail -n 100 --only findings fixer-215911-8c90c7", "what did it find?"),
        ),
        "0 done; 1 a file cannot be read; 2 wrong usage, or no such agent; 130 interrupted",
    ),
    "watch": Page(
        "watch",
        "a line for every change, for scripts",
        """\
Prints the roll, and then a line for each change as it is noticed: an agent came, went,
or has another verdict, status or progress; an orphan came or went; tmux can or cannot
be asked; a registry can or cannot be read. Goes on until it is interrupted or nobody
reads it any more.

With --json each line is an object with `event` and `at` (seconds since the epoch). The
first is `roll`, with the whole roll in `roll`, as `muster list --json` has it. Then:

  agent-came, agent-went, agent-changed
      `agent`, `task`, `registry`, `ordinal` (of entries with one id), `verdict`,
      `status`, `progress`, `note`; and `changed`: of each that changed [before, after]
  orphan-came, orphan-went            `session`, `created`
  tmux-changed                        `state`, `detail`, `before`
  registry-unreadable, registry-readable, registry-gone
      `registry`, `error`

--where chooses agents and orphans, as for `muster list`; a change is printed if they
match before or after it.""",
        (
            ("muster watch --where verdict:zombie,stalled", "tell me when one dies"),
            ("ssh host muster watch --json", "from another host"),
        ),
        "0 its reader is gone; 2 wrong usage; 130 interrupted",
    ),
    "kill": Page(
        "kill NAME...",
        "end agents' sessions and processes, and record it",
        """\
Ends agents for good: the tmux sessions, then every process that came from them,
then both registries say `terminated`. Shows the plan and asks first.

  muster kill AGENT...         these; or orphaned sessions, by their names
  muster kill --tree AGENT...  these and all agents beneath them
  muster kill --task TASK...   all agents of these tasks
  muster kill --leaked         all leaked sessions
  muster kill --orphans        all orphaned sessions

Ids are compared exactly, never by their beginning or a pattern.""",
        (
            ("muster kill --dry-run --tree architect-1", "what would that end?"),
            ("muster kill --yes --reason 'looped' fixer-215911-8c90c7", "without being asked"),
        ),
    ),
    "complete": Page(
        "complete AGENT...",
        "mark agents, or all zombies, as through",
        """\
Marks active agents as through in both registries; no session is touched.
Shows the plan and asks first. Agents whose session is back are left alone.""",
        (("muster complete --zombies --as terminated", "clean up after a crash"),),
    ),
    "doctor": Page(
        "doctor",
        "what is wrong, and --fix, which sets it right",
        """\
Looks for what is wrong: zombies, leaked, orphaned and stalled agents; counters,
statuses and lists of the two registries that do not agree; parents, loops and ids
that nobody can follow; files that cannot be read, and commits that were cut off.
Every finding names the file and the field, and what --fix writes, or what to do.

--fix shows the plan, asks, and sets right just that, if it still is so; on record,
so that `muster undo` takes it back. It ends no session: `muster kill` does.""",
        (("muster doctor --fix --dry-run", "what would it write?"),),
        "0 healthy; 1 findings; 2 could not tell (tmux gave no answer and agents are\n"
        "  active, or a file cannot be read) or wrong usage. With --fix: of what is left",
    ),
    "undo": Page(
        "undo [ID]",
        "take the last change, or another one, back",
        """\
Takes back the last change of registries, or the one with this ID (`muster log` has
them): field by field, counter by counter, in both registries. What somebody changed
since is left alone, and so is whoever was killed. Shows the plan and asks first.""",
        (("muster undo --dry-run", "what would that take back?"),),
    ),
    "log": Page(
        "log",
        "what was done, by whom and why",
        """\
What operators did in these workspaces, oldest first: when, who, why, every field
before and after, and how it ended. With --json one record a line, as in the log.""",
        (("muster log -f", "what are the others doing?"),),
    ),
    "metrics": Page(
        "metrics",
        "counts and lock times, as OpenMetrics",
        """\
Prints the roll's counts, and what happened to the registries' locks, in the
OpenMetrics text format: waits, timeouts, recoveries, corrupt reads.""",
    ),
    "register": Page(
        "register TYPE",
        "write an agent down before it is deployed",
        """\
Writes an agent down in its task's registry and in the global one, as one change, and
prints its id. Checks the task's limits (max_agents, max_concurrent, max_depth).
Start the session, called `agent_` and the id, right afterwards. Without --task the
only task that there is.""",
        (("id=$(muster register fixer --task TASK-1 --prompt 'Mend it')", "in a script"),),
        "0 done; 1 there is no room; 2 wrong usage or no such task",
    ),
    "report": Page(
        "report AGENT",
        "say how far an agent is",
        """\
Says how far an agent is: its status, its progress and a message, in both registries
and in progress/AGENT_progress.jsonl. A terminal status ends the agent there; no
session is touched.""",
        (("muster report fixer-215911-8c90c7 --progress 40 half way", ""),),
    ),
    "completion": Page(
        "completion SHELL",
        "a script that completes commands, options and ids",
        """\
Prints a script for bash, zsh or fish that completes commands, options, the ids of
agents and tasks, and workspaces. Ids come from the registries; tmux is not asked.""",
        (
            ('eval "$(muster completion bash)"', "in ~/.bashrc"),
            ('eval "$(muster completion zsh)"', "in ~/.zshrc, after compinit"),
            ("muster completion fish > ~/.config/fish/completions/muster.fish", "once"),
        ),
    ),
    "config": Page(
        "config",
        "the settings file",
        """\
The settings: colours, keys, notes and the commands they run, when a verdict is sure
enough, read-only. They lie in $XDG_CONFIG_HOME/muster/config.toml, or else in
~/.config/muster/config.toml; --config FILE or MUSTER_CONFIG names another file.

--init makes the file, which says of each setting what it does and what it is by
default, where there is none; --print prints it.
--check names everything that is wrong with a file. With a file that is wrong nothing
runs but `register`, `report` and what needs no settings.""",
        (
            ("muster config --init", "to begin with"),
            ("muster config --check", "after every change"),
        ),
        "0 it is fine, or there is none; 2 it cannot be used",
    ),
    "demo": Page(
        "demo",
        "a workspace and a private tmux server to try it on",
        """\
Makes a temporary workspace and a private tmux server, deploys a dozen agents
that work, stall, die and leak, and opens the monitor on it. Everything is gone
when you quit. Your own tmux is never touched.""",
    ),
}
"""All commands, in the order in which they are listed."""

_WIDE = max(len(page.usage) for page in COMMANDS.values()) + 2

_LISTED = "\n".join(f"  muster {page.usage:{_WIDE}}{page.line}" for page in COMMANDS.values())

_MONITOR = f"""\
Calls the roll of the AI agents on this host: what their registries say against
what tmux has.

  muster {"[WORKSPACE...]":{_WIDE}}the monitor; `?` shows its keys
{_LISTED}

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


def text_of(command: str) -> str:
    """What stands above the options."""
    return COMMANDS[command].text if command else _MONITOR


def epilog(command: str) -> str:
    """What stands below the options."""
    page = COMMANDS.get(command)
    parts = []
    examples = page.examples if page else _EXAMPLES
    if examples:
        wide = max(len(example) for example, _ in examples) + 2
        lines = (f"  {example:{wide}}{says}".rstrip() for example, says in examples)
        parts.append("\n".join(("examples:", *lines)))
    parts.append(f"exit codes:\n  {(page.codes if page else '') or _CODES}")
    if page is None:
        parts.append(_ENVIRONMENT)
    return "\n\n".join(parts)
