"""Where muster begins and ends: from the first line of `main` on, a signal leaves no traceback.

An interrupt while Python imports is a traceback. So this module imports nothing that has to
be read from a file, and `main` is the first to do so. Before `main`, an interrupt is Python's:
while the interpreter starts, and while the script of the installation imports this module.
"""

import _signal  # type: ignore[import-not-found]
import _thread
import atexit
import os
import sys

_SIGNALS = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGPIPE, _signal.SIGTERM)

_ended_by: list[int] = []


def main() -> int:
    """Runs muster as a program.

    Returns:
        The exit code. If a signal ended muster, the process dies of that signal once all
        else is done: a shell shows 128 and its number, and stops a script after an interrupt.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Nothing has begun yet that would have to be ended in order.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    # Registered first, it is called last.
    atexit.register(_die)
    sys.unraisablehook = _unraisable
    code = _run()
    _ended_by[:] = [number for number in _SIGNALS if code == 128 + number]
    return code


def _run() -> int:
    from tui.cli.main import main

    try:
        try:
            return main()
        except SystemExit as end:
            if isinstance(end.code, int):
                return end.code
            raise
        finally:
            # From here on nothing is left to be ended in order.
            _die_of_interrupts()
    except KeyboardInterrupt:
        _die_of_interrupts()
        return 128 + int(_signal.SIGINT)


def _die_of_interrupts() -> None:
    if _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Says what Python cannot raise; an interrupt, which it would lose, comes again."""
    if what.exc_type is KeyboardInterrupt:
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(what)


def _die() -> None:
    for number in _ended_by:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
