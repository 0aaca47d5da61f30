"""The command line. Textual is imported only when a screen opens."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.workspace import ENVIRONMENT_VARIABLE, Workspace, find_workspaces

if TYPE_CHECKING:
    from tui.host.tmux import Tmux
    from tui.planning import Plan
    from tui.roll import RollCall

DONE = 0
NOT_ALL_DONE = 1
USAGE = 2
INTERRUPTED = 130

_DESCRIPTION = f"""\
Calls the roll of the AI agents on this host: what their registries say against
what tmux has.

  muster [WORKSPACE...]       the monitor
  muster list                 the same roll once, as a table or as JSON
  muster kill AGENT...        end agents' sessions and processes, and record it
  muster complete AGENT...    mark agents, or all zombies, as through
  muster demo                 a workspace and a private tmux server to try it on

`muster COMMAND --help` tells more of each.

A WORKSPACE is a .agent-workspace, a directory that holds one, or one registry
file. Without any: those in {ENVIRONMENT_VARIABLE} (colon-separated), or else the
nearest .agent-workspace from here upward.
"""


class _UsageError(Exception):
    """Something that the user has to put differently."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs muster.

    Args:
        arguments: The command line without the program's name; `sys.argv` if None.

    Returns:
        The exit code: 0 done, 1 not all done, 2 wrong usage or nothing found.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = _take_command(given)
    parser = _parser(command)
    options = parser.parse_args(given)
    try:
        code = _COMMANDS[command](options)
        sys.stdout.flush()
    except (_UsageError, RegistryError) as error:
        print(f"muster: {_safe(str(error))}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        # The reader of our output went away; Python would complain once more
        # when it flushes on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_ALL_DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        print(f"muster: {_safe(str(error))}", file=sys.stderr)
        return NOT_ALL_DONE
    return code


def _safe(message: str) -> str:
    from tui.text import harmless_lines

    return "\n".join(harmless_lines(message))


def _take_command(given: list[str]) -> str:
    """Takes the command's name out of the arguments; the monitor is the default."""
    takes_value = {"-L", "-S", "-w", "--workspace"}
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
    if command == "demo":
        return parser
    socket = parser.add_mutually_exclusive_group()
    socket.add_argument("-L", dest="socket_name", metavar="NAME", help="tmux socket name")
    socket.add_argument("-S", dest="socket_path", metavar="PATH", help="tmux socket path")
    if command in ("", "list"):
        parser.add_argument("workspaces", nargs="*", metavar="WORKSPACE", help="see above")
    else:
        parser.add_argument(
            "-w",
            "--workspace",
            dest="workspaces",
            action="append",
            default=[],
            metavar="WORKSPACE",
            help="where to look for the agents; may be given more than once",
        )
        several = "*" if command == "complete" else "+"
        parser.add_argument("agents", nargs=several, metavar="AGENT", help="an agent's whole id")
        parser.add_argument("--reason", default="", metavar="TEXT", help="kept in the registry")
        parser.add_argument("--dry-run", action="store_true", help="show the plan, do nothing")
        parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    if command == "complete":
        parser.add_argument("--zombies", action="store_true", help="all zombies")
        parser.add_argument(
            "--as",
            dest="status",
            choices=("completed", "terminated"),
            default="completed",
            help="what they become (default: completed)",
        )
    if command:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _find(options: argparse.Namespace) -> tuple[Workspace, ...]:
    return find_workspaces(options.workspaces, os.environ, Path.cwd())


def _tmux(options: argparse.Namespace) -> Tmux:
    from tui.host.tmux import Tmux

    return Tmux(_socket(options))


def _socket(options: argparse.Namespace) -> Path:
    from tui.host.sessions import socket_path

    try:
        return socket_path(options.socket_name, options.socket_path, os.environ)
    except ValueError as error:
        raise _UsageError(str(error)) from None


def _monitor(options: argparse.Namespace) -> int:
    workspaces = _find(options)
    socket = _socket(options)
    if not _on_terminal():
        raise _UsageError("the monitor needs a terminal; `muster list` does not")
    from tui.app import run_monitor
    from tui.roll import Policy

    return run_monitor(workspaces, socket, Policy())


def _on_terminal() -> bool:
    # Textual draws on standard error.
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def _list(options: argparse.Namespace) -> int:
    from tui.listing import as_json, roll_json, roll_table
    from tui.live import take_roll
    from tui.roll import Policy

    roll = take_roll(_find(options), _tmux(options), Policy())
    if options.json:
        print(as_json(roll_json(roll)))
        return DONE
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    _print(roll_table(roll, time.time(), columns))
    return DONE


def _print(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    stream = sys.stderr if to_stderr else sys.stdout
    for line in lines:
        # A terminal of another encoding gets a question mark, never a crash.
        encoding = stream.encoding or "utf-8"
        print(line.encode(encoding, "replace").decode(encoding), file=stream)


def _kill(options: argparse.Namespace) -> int:
    from tui.live import take_roll
    from tui.planning import plan_kill, rows_of
    from tui.roll import Policy

    tmux = _tmux(options)
    roll = take_roll(_find(options), tmux, Policy())
    orphans = {session.name: session for session in roll.orphans}
    ids = [each for each in options.agents if each not in orphans]
    rows, problems = rows_of(roll, ids)
    if problems:
        raise _UsageError("\n".join(problems) + _nearest(roll, ids, problems))
    chosen = [orphans[each] for each in dict.fromkeys(options.agents) if each in orphans]
    return _act(plan_kill(roll, rows, chosen), tmux, options)


def _complete(options: argparse.Namespace) -> int:
    from tui.host.sessions import TmuxState
    from tui.live import take_roll
    from tui.planning import plan_complete, rows_of
    from tui.roll import Policy, Verdict

    if bool(options.agents) == options.zombies:
        raise _UsageError("complete takes either agents' ids or --zombies")
    tmux = _tmux(options)
    roll = take_roll(_find(options), tmux, Policy())
    if options.zombies:
        rows = [row for row in roll.agents() if row.verdict is Verdict.ZOMBIE]
    else:
        rows, problems = rows_of(roll, options.agents)
        if problems:
            raise _UsageError("\n".join(problems) + _nearest(roll, options.agents, problems))
    done = _act(plan_complete(roll, rows, options.status), tmux, options)
    unread = _unread(roll)
    if not rows and roll.answer.state is TmuxState.UNKNOWN:
        print(f"muster: no zombie can be told; tmux: {_safe(roll.answer.detail)}", file=sys.stderr)
        return NOT_ALL_DONE
    if options.zombies and unread:
        print(f"muster: {_safe(unread)}", file=sys.stderr)
        return NOT_ALL_DONE
    if not rows and not options.json:
        print("No zombies.")
    return done


def _unread(roll: RollCall) -> str:
    """Which registries could not be read, and so may hold whom nobody found."""
    return "\n".join(
        f"{task.state.registry} cannot be read: {task.state.error}"
        for task in roll.tasks()
        if task.state.error is not None
    )


def _nearest(roll: RollCall, ids: Iterable[str], problems: Iterable[str]) -> str:
    """What may have been meant by ids that nobody has."""
    import difflib

    if not any(problem.startswith("no agent") for problem in problems):
        return ""
    known = [row.key.id for row in roll.agents()]
    known += [session.name for session in roll.orphans]
    unread = _unread(roll)
    if unread:
        return f"\n{unread}\nThe agent may be in there."
    near = {each for id_ in ids for each in difflib.get_close_matches(id_, known, 3)}
    return f"\nmeant: {', '.join(sorted(near - set(ids)))}?" if near - set(ids) else ""


def _act(plan: Plan, tmux: Tmux, options: argparse.Namespace) -> int:
    from tui.actions import carry_out
    from tui.listing import as_json, outcome_json, outcome_lines, plan_json, plan_lines

    if options.dry_run or not plan.steps:
        if options.json:
            print(as_json(plan_json(plan)))
        elif plan.steps or plan.refused:
            _print(plan_lines(plan))
        return NOT_ALL_DONE if plan.refused else DONE
    if not options.yes:
        _print(plan_lines(plan), to_stderr=options.json)
        if not _confirmed():
            print("Nothing was done.", file=sys.stderr)
            return NOT_ALL_DONE
    outcome = carry_out(plan, tmux, options.reason)
    if options.json:
        print(as_json(outcome_json(outcome)))
    else:
        _print(outcome_lines(outcome))
    return DONE if outcome.complete and not plan.refused else NOT_ALL_DONE


def _confirmed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise _UsageError("there is no terminal to ask on; say --yes to go ahead")
    print("Go ahead? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _demo(options: argparse.Namespace) -> int:
    if not _on_terminal():
        raise _UsageError("the demo needs a terminal")
    from tui.demo import run_demo

    return run_demo()


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "": _monitor,
    "list": _list,
    "kill": _kill,
    "complete": _complete,
    "demo": _demo,
}

_HELP = {
    "": "",
    "list": """\
Calls the roll once. Without --json a table.

A WORKSPACE is a .agent-workspace, a directory that holds one, or one registry file.
""",
    "kill": """\
Ends agents for good: the tmux session, then every process that came from it,
then both registries say `terminated`. Shows the plan and asks first.

AGENT is a whole id, or the name of an orphaned session. Ids are compared
exactly, never by their beginning or a pattern.
""",
    "complete": """\
Marks active agents as through in both registries; no session is touched.
Shows the plan and asks first. Agents whose session is back are left alone.
""",
    "demo": """\
Makes a temporary workspace and a private tmux server, deploys a dozen agents
that work, stall, die and leak, and opens the monitor on it. Everything is gone
when you quit. Your own tmux is never touched.
""",
}
