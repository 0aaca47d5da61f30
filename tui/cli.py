"""The command line. Textual is imported only when a screen opens."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from registry.errors import RegistryError
from registry.records import ACTIVE_STATUSES, ORCHESTRATOR, TERMINAL_STATUSES
from registry.workspace import ENVIRONMENT_VARIABLE
from tui.console import (
    INTERRUPTED,
    NOT_ALL_DONE,
    USAGE,
    UsageError,
    find,
    on_terminal,
    safe,
    socket_of,
)

_DESCRIPTION = f"""\
Calls the roll of the AI agents on this host: what their registries say against
what tmux has.

  muster [WORKSPACE...]       the monitor
  muster list                 the same roll once, as a table or as JSON
  muster kill AGENT...        end agents' sessions and processes, and record it;
                              with --tree, --task, --leaked, --orphans many at once
  muster complete AGENT...    mark agents, or all zombies, as through
  muster doctor               what is wrong, and --fix, which sets it right
  muster undo [ID]            take the last change, or another one, back
  muster log                  what was done, by whom and why
  muster metrics              counts and lock times, as OpenMetrics
  muster register TYPE        write an agent down before it is deployed
  muster report AGENT         say how far an agent is
  muster config               the settings file: print, check
  muster demo                 a workspace and a private tmux server to try it on

`muster COMMAND --help` tells more of each.

A WORKSPACE is a .agent-workspace, a directory that holds one, or one registry
file. Without any: those in {ENVIRONMENT_VARIABLE} (colon-separated), or else the
nearest .agent-workspace from here upward.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs muster.

    Args:
        arguments: The command line without the program's name; `sys.argv` if None.

    Returns:
        The exit code: 0 done, 1 not all done, 2 wrong usage or nothing found; of
        `doctor` 0 healthy, 1 findings, 2 could not tell.
    """
    _hold_standard_descriptors()
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = _take_command(given)
    parser = _parser(command)
    # Options and arguments in any order: `report AGENT --progress 40 half done`.
    options = parser.parse_intermixed_args(given)
    try:
        _refuse_changes(command, options)
        code = _COMMANDS[command](options)
        sys.stdout.flush()
    except (UsageError, RegistryError) as error:
        print(f"muster: {safe(str(error))}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        _discard_output()
        return NOT_ALL_DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _discard_output()
        print(f"muster: {safe(str(error))}", file=sys.stderr)
        return NOT_ALL_DONE
    return code


def _refuse_changes(command: str, options: argparse.Namespace) -> None:
    """Refuses an operator's change where the settings say read-only.

    What agents say of themselves, `register` and `report`, is none.
    """
    if command not in ("kill", "complete", "undo", "doctor") or options.dry_run:
        return
    if command != "doctor" or options.fix:
        from tui.config import refuse_if_read_only

        refuse_if_read_only(options)


def _discard_output() -> None:
    """Drops what is left to print: Python would fail of it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hold_standard_descriptors() -> None:
    """Keeps files that are opened later from becoming a standard stream that was closed."""
    while (fd := os.open(os.devnull, os.O_RDONLY)) <= 2:
        name = ("stdin", "stdout", "stderr")[fd]
        setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", encoding="utf-8"))
    os.close(fd)


def _take_command(given: list[str]) -> str:
    """Takes the command's name out of the arguments; the monitor is the default."""
    takes_value = {"-L", "-S", "-w", "--workspace", "--config"}
    skip = False
    for index, word in enumerate(given):
        if skip or word in takes_value:
            skip = not skip
        elif not word.startswith("-"):
            if word in _COMMANDS:
                return given.pop(index)
            break
    return ""


def _parser(command: str) -> argparse.ArgumentParser:
    from tui import __version__

    parser = argparse.ArgumentParser(
        prog=f"muster {command}".strip(),
        description=_HELP[command] or _DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"muster {__version__}")
    parser.add_argument("--config", metavar="FILE", help="settings file (see muster config)")
    if command == "config":
        _add_config(parser)
        return parser
    if command in ("", "demo"):
        parser.add_argument(
            "--ascii", action="store_true", default=None, help="nothing beyond ASCII on the screen"
        )
        parser.add_argument(
            "--read-only", action="store_true", default=None, help="nothing can be changed"
        )
    if command == "demo":
        return parser
    # Also where tmux is not asked: an alias may have them in front of every command.
    socket = parser.add_mutually_exclusive_group()
    socket.add_argument("-L", dest="socket_name", metavar="NAME", help="tmux socket name")
    socket.add_argument("-S", dest="socket_path", metavar="PATH", help="tmux socket path")
    if command in ("register", "report"):
        _add_reporting(parser, command)
    elif command in ("", "list", "log", "metrics", "doctor"):
        parser.add_argument("workspaces", nargs="*", metavar="WORKSPACE", help="see above")
    else:
        _add_action(parser, command)
    if command == "complete":
        parser.add_argument("--zombies", action="store_true", help="all zombies")
        parser.add_argument(
            "--as",
            dest="status",
            choices=("completed", "terminated"),
            default="completed",
            help="what they become (default: completed)",
        )
    if command == "doctor":
        _add_workspace(parser, "named")
        parser.add_argument("--fix", action="store_true", help="set right what can be")
        _add_asking(parser)
    if command == "log":
        parser.add_argument("--follow", "-f", action="store_true", help="go on as it grows")
        parser.add_argument("--all", action="store_true", help="all that is kept")
        parser.add_argument(
            "-n", dest="number", type=_positive, default=20, help="the last N (default: 20)"
        )
    if command not in ("", "metrics"):
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--print", action="store_true", help="print a file with all defaults")
    what.add_argument("--path", action="store_true", help="print where the file lies")
    what.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="FILE",
        help="say what is wrong with the file, or with another one",
    )


def _add_reporting(parser: argparse.ArgumentParser, command: str) -> None:
    _add_workspace(parser)
    parser.add_argument("--task", metavar="ID", help="which task")
    if command == "register":
        parser.add_argument("type", metavar="TYPE", help="what the agent does")
        parser.add_argument(
            "--parent", default=ORCHESTRATOR, metavar="AGENT", help="who starts it"
        )
        parser.add_argument("--id", metavar="ID", help="its id (default: a new one)")
        parser.add_argument("--prompt", default="", metavar="TEXT", help="what it is told")
        parser.add_argument(
            "--reuse",
            action="store_true",
            help="take an active agent of the type, if there is one",
        )
        return
    parser.add_argument("agent", metavar="AGENT", help="an agent's whole id")
    parser.add_argument("message", nargs="*", metavar="MESSAGE", help="in words")
    statuses = sorted(ACTIVE_STATUSES | TERMINAL_STATUSES)
    parser.add_argument("--status", choices=statuses, help="its status (default: as it is)")
    parser.add_argument("--progress", type=_percent, metavar="PERCENT", help="0 to 100")


def _percent(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 100, not {text!r}")
    return int(number) if number.is_integer() else number


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def _add_workspace(parser: argparse.ArgumentParser, dest: str = "workspaces") -> None:
    parser.add_argument(
        "-w",
        "--workspace",
        dest=dest,
        action="append",
        default=[],
        metavar="WORKSPACE",
        help="where to look; may be given more than once",
    )


def _add_action(parser: argparse.ArgumentParser, command: str) -> None:
    _add_workspace(parser)
    if command == "kill":
        parser.add_argument("names", nargs="*", metavar="NAME", help="whole ids; see above")
        many = parser.add_mutually_exclusive_group()
        many.add_argument("--tree", action="store_true", help="with all agents beneath them")
        many.add_argument("--task", action="store_true", help="NAMEs are ids of tasks")
        many.add_argument("--leaked", action="store_true", help="all leaked sessions")
        many.add_argument("--orphans", action="store_true", help="all orphaned sessions")
    elif command == "undo":
        parser.add_argument("action_id", nargs="?", metavar="ID", help="which action")
    else:
        parser.add_argument("agents", nargs="*", metavar="AGENT", help="an agent's whole id")
    _add_asking(parser, of_deaths=command != "undo")


def _add_asking(parser: argparse.ArgumentParser, *, of_deaths: bool = True) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept on record")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, do nothing")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    if of_deaths:
        parser.add_argument(
            "--mass-death",
            action="store_true",
            help="go ahead also where most agents died at once; --yes alone does not",
        )


def _monitor(options: argparse.Namespace) -> int:
    workspaces = find(options)
    socket = socket_of(options)
    if not on_terminal():
        raise UsageError("the monitor needs a terminal; `muster list` does not")
    from tui.config import policy_from, settings_of

    settings = settings_of(options)
    policy = policy_from(os.environ, settings.policy)
    from tui.monitor import run_monitor

    return run_monitor(workspaces, socket, policy, settings)


def _demo(options: argparse.Namespace) -> int:
    if not on_terminal():
        raise UsageError("the demo needs a terminal")
    from tui.config import settings_of
    from tui.demo import run_demo

    return run_demo(settings_of(options))


def _config(options: argparse.Namespace) -> int:
    from tui.config_command import config

    return config(options)


def _list(options: argparse.Namespace) -> int:
    from tui.commands import show_list

    return show_list(options)


def _kill(options: argparse.Namespace) -> int:
    from tui.commands import kill

    return kill(options)


def _complete(options: argparse.Namespace) -> int:
    from tui.commands import complete

    return complete(options)


def _doctor(options: argparse.Namespace) -> int:
    from tui.doctor_command import doctor

    # Takes workspaces as `list` does, and as the commands do that it stands beside.
    options.workspaces += options.named
    return doctor(options)


def _log(options: argparse.Namespace) -> int:
    from tui.record_commands import show_log

    return show_log(options)


def _undo(options: argparse.Namespace) -> int:
    from tui.record_commands import undo

    return undo(options)


def _metrics(options: argparse.Namespace) -> int:
    from tui.metrics_command import show_metrics

    return show_metrics(options)


def _register(options: argparse.Namespace) -> int:
    from tui.agent_commands import register

    return register(options)


def _report(options: argparse.Namespace) -> int:
    from tui.agent_commands import report

    return report(options)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "": _monitor,
    "list": _list,
    "kill": _kill,
    "complete": _complete,
    "doctor": _doctor,
    "log": _log,
    "undo": _undo,
    "metrics": _metrics,
    "register": _register,
    "report": _report,
    "config": _config,
    "demo": _demo,
}

_HELP = {
    "": "",
    "list": """\
Calls the roll once. Without --json a table.

A WORKSPACE is a .agent-workspace, a directory that holds one, or one registry file.
""",
    "kill": """\
Ends agents for good: the tmux sessions, then every process that came from them,
then both registries say `terminated`. Shows the plan and asks first.

  muster kill AGENT...         these; or orphaned sessions, by their names
  muster kill --tree AGENT...  these and all agents beneath them
  muster kill --task TASK...   all agents of these tasks
  muster kill --leaked         all leaked sessions
  muster kill --orphans        all orphaned sessions

Ids are compared exactly, never by their beginning or a pattern.
""",
    "complete": """\
Marks active agents as through in both registries; no session is touched.
Shows the plan and asks first. Agents whose session is back are left alone.
""",
    "doctor": """\
Looks for what is wrong: zombies, leaked, orphaned and stalled agents; counters,
statuses and lists of the two registries that do not agree; parents, loops and ids
that nobody can follow; files that cannot be read, and commits that were cut off.
Every finding names the file and the field, and what --fix writes, or what to do.

--fix shows the plan, asks, and sets right just that, if it still is so; on record,
so that `muster undo` takes it back. It ends no session: `muster kill` does.

Exit codes: 0 healthy, 1 findings, 2 could not tell (tmux gave no answer and agents
are active, or a file cannot be read) or wrong usage. With --fix: of what is left.
""",
    "log": """\
What operators did in these workspaces, oldest first: when, who, why, every field
before and after, and how it ended. With --json one record a line, as in the log.
""",
    "undo": """\
Takes back the last change of registries, or the one with this ID (`muster log` has
them): field by field, counter by counter, in both registries. What somebody changed
since is left alone, and so is whoever was killed. Shows the plan and asks first.
""",
    "metrics": """\
Prints the roll's counts, and what happened to the registries' locks, in the
OpenMetrics text format: waits, timeouts, recoveries, corrupt reads.
""",
    "register": """\
Writes an agent down in its task's registry and in the global one, as one change, and
prints its id. Checks the task's limits (max_agents, max_concurrent, max_depth); exit
code 1 when there is no room. Start the session, called `agent_` and the id, right
afterwards. Without --task the only task that there is.
""",
    "report": """\
Says how far an agent is: its status, its progress and a message, in both registries
and in progress/AGENT_progress.jsonl. A terminal status ends the agent there; no
session is touched.
""",
    "config": """\
The settings file: $XDG_CONFIG_HOME/muster/config.toml (~/.config/muster/config.toml),
or the one that --config or MUSTER_CONFIG names. To begin with one:

  muster config --print > "$(muster config --path)"

--check ends with 0 if the file is fine and with 2 if it is not; with a file that is
not fine nothing else runs either.
""",
    "demo": """\
Makes a temporary workspace and a private tmux server, deploys a dozen agents
that work, stall, die and leak, and opens the monitor on it. Everything is gone
when you quit. Your own tmux is never touched.
""",
}
