"""The command line. Textual is imported only when a screen opens."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from registry.errors import RegistryError
from tui.cli.context import (
    DONE,
    INTERRUPTED,
    NOT_ALL_DONE,
    USAGE,
    complain,
    find,
    lines_of,
    on_terminal,
    reader_is_gone,
    socket_of,
)
from tui.cli.output import harmless_output
from tui.cli.parser import joined, mistaken_command, parser_of, take_command, take_words
from tui.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs muster.

    Args:
        arguments: The command line without the program's name; `sys.argv` if None.

    Returns:
        The exit code: 0 done, 1 not all done, 2 wrong usage or nothing found; of
        `doctor` 0 healthy, 1 findings, 2 could not tell. 128 and the number of a signal,
        if that ended it.
    """
    _hold_standard_descriptors()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with harmless_output():
        try:
            return _run(given)
        except Exception:
            import traceback

            # Not by the interpreter, which writes past the block.
            traceback.print_exc()
            return NOT_ALL_DONE


def _run(given: list[str]) -> int:
    """Runs a command line; the exit code."""
    command = take_command(given)
    parser = parser_of(command)
    # Options and arguments in any order: `report AGENT --progress 40 half done`. What
    # stands behind `--` that way of parsing does not leave alone.
    words = take_words(given) if command == "completion" else None
    if command == "completion" or "--" in given:
        options = parser.parse_args(given)
        options.words = words
    else:
        options = parser.parse_intermixed_args(joined(given))
    try:
        if not command and (problem := mistaken_command(given)) is not None:
            raise UsageError(problem)
        _refuse_changes(command, options)
        if command not in ("", "demo"):
            _raise_interrupts()
        code = _COMMANDS[command](options)
        sys.stdout.flush()
    except (UsageError, RegistryError) as error:
        complain(*lines_of(error))
        # A file that is locked, or a disk that is full: to be tried again as it is.
        again = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        return NOT_ALL_DONE if again else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            _discard_output()
            return _code_without_reader(command, options)
        _discard_output()
        complain(*lines_of(error))
        return NOT_ALL_DONE
    return code


def _raise_interrupts() -> None:
    """Has an interrupt raise KeyboardInterrupt: what has begun is ended in order."""
    if threading.current_thread() is threading.main_thread():  # noqa: SIM102
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _code_without_reader(command: str, options: argparse.Namespace) -> int:
    if command in _READING:
        # Whoever reads has read enough.
        return DONE
    if command == "doctor" and not options.fix:
        # Its other codes say what was found.
        return 128 + signal.SIGPIPE
    return NOT_ALL_DONE


def _refuse_changes(command: str, options: argparse.Namespace) -> None:
    """Refuses an operator's change where the settings say read-only.

    What agents say of themselves, `register` and `report`, is none.
    """
    if command not in ("kill", "complete", "undo", "doctor") or options.dry_run:
        return
    if command != "doctor" or options.fix:
        from tui.config.load import refuse_if_read_only

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


def _monitor(options: argparse.Namespace) -> int:
    workspaces = find(options)
    socket = socket_of(options)
    if not on_terminal():
        raise UsageError("the monitor needs a terminal; `muster list` does not")
    from tui.config.load import policy_from, settings_of

    settings = settings_of(options)
    policy = policy_from(os.environ, settings.policy)
    from tui.app.run import run_monitor

    return run_monitor(workspaces, socket, policy, settings)


def _demo(options: argparse.Namespace) -> int:
    if not on_terminal():
        raise UsageError("the demo needs a terminal")
    from tui.config.load import settings_of
    from tui.demo.run import run_demo

    return run_demo(settings_of(options))


def _config(options: argparse.Namespace) -> int:
    from tui.cli.config import config

    return config(options)


def _list(options: argparse.Namespace) -> int:
    from tui.cli.list import show_list

    return show_list(options)


def _show(options: argparse.Namespace) -> int:
    from tui.cli.show import show

    return show(options)


def _tail(options: argparse.Namespace) -> int:
    from tui.cli.tail import tail

    return tail(options)


def _watch(options: argparse.Namespace) -> int:
    from tui.cli.watch import watch

    return watch(options)


def _completion(options: argparse.Namespace) -> int:
    from tui.cli.completion import completion

    return completion(options)


def _kill(options: argparse.Namespace) -> int:
    from tui.cli.kill import kill

    return kill(options)


def _complete(options: argparse.Namespace) -> int:
    from tui.cli.kill import complete

    return complete(options)


def _doctor(options: argparse.Namespace) -> int:
    from tui.cli.doctor import doctor

    # Takes workspaces as `list` does, and as the commands do that it stands beside.
    options.workspaces += options.named
    return doctor(options)


def _log(options: argparse.Namespace) -> int:
    from tui.cli.audit import show_log

    return show_log(options)


def _undo(options: argparse.Namespace) -> int:
    from tui.cli.audit import undo

    return undo(options)


def _metrics(options: argparse.Namespace) -> int:
    from tui.cli.metrics import show_metrics

    return show_metrics(options)


def _register(options: argparse.Namespace) -> int:
    from tui.cli.agents import register

    return register(options)


def _report(options: argparse.Namespace) -> int:
    from tui.cli.agents import report

    return report(options)


_READING = frozenset({"list", "show", "tail", "watch", "log", "metrics", "config", "completion"})

_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "": _monitor,
    "list": _list,
    "show": _show,
    "tail": _tail,
    "watch": _watch,
    "kill": _kill,
    "complete": _complete,
    "doctor": _doctor,
    "log": _log,
    "undo": _undo,
    "metrics": _metrics,
    "register": _register,
    "report": _report,
    "completion": _completion,
    "config": _config,
    "demo": _demo,
}
