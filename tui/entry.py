"""Starts and ends muster, so that no signal causes a traceback.

An interrupt during an import would print a traceback. So this module imports only modules that are
built into Python. `main` imports all other modules, after it has changed the handling of
interrupts. An interrupt before `main` is handled by Python.
"""

import _signal  # type: ignore[import-not-found]
import _thread
import atexit
import gc
import os
import sys

_SIGNALS = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGPIPE, _signal.SIGTERM)

# The number of new objects after which garbage is collected. Imports create many objects, but no
# garbage.
_NEW_OBJECTS = 50_000

_ended_by: list[int] = []


def main() -> int:
    """Runs muster as a program.

    Returns:
        The exit code. If a signal ended muster, the process ends itself with the same signal after
        `main`. Then a shell sees 128 plus the signal's number, and an interrupt stops a script.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Nothing needs cleanup yet, so an interrupt may kill the process.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    # `atexit` calls the function that was registered first as the last one.
    atexit.register(_die)
    sys.unraisablehook = _unraisable
    gc.set_threshold(_NEW_OBJECTS)
    code = _run()
    # At its end, Python collects garbage twice, to call finalizers. The kernel frees the memory
    # anyway, so the collector skips all present objects.
    gc.freeze()
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
            # Nothing needs cleanup any more.
            _die_of_interrupts()
    except KeyboardInterrupt:
        _die_of_interrupts()
        return 128 + int(_signal.SIGINT)


def _die_of_interrupts() -> None:
    if _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Reports an exception that Python could not raise; raises an interrupt in the main thread."""
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
