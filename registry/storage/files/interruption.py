"""Distinguishes an exception of a signal handler from an error of the interrupted call.

A signal handler may raise any exception, for example a `TimeoutError`, between any two steps. If
an ``except`` clause treats this exception as the failure of a call, the program that set the
handler never sees the exception. So each ``except`` clause in `registry` first calls `hand_on`.

A handler written in Python is recognized by its code in the traceback. An exception cannot be
recognized if it comes from a handler written in C, or if another thread injects it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` converts each handler.
import contextlib
import json
from functools import partial
from pathlib import Path
from types import CodeType, TracebackType

# Code in these directories is never a handler. This makes the check faster for the JSON
# decoder, which fails often when many files are malformed.
_NEVER_OF_HANDLERS = (f"{Path(__file__).parents[2]}/", f"{Path(json.__file__).parent}/")
_SIGNALS = tuple(_signal.valid_signals())


def hand_on(error: BaseException) -> None:
    """Raises an exception again if a signal handler raised it.

    Every ``except`` clause must call this function first.
    """
    if _is_of_handler(error):
        context = error.__context__
        try:
            raise error
        finally:
            # Avoid a reference cycle. It would keep the frames, and their locks and files,
            # until the garbage collector runs.
            error.__context__ = context
            del error, context


class tolerating(contextlib.suppress):  # noqa: N801
    """Works like `contextlib.suppress`, but does not suppress an exception of a signal handler."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None and _is_of_handler(error):
            return False
        return bool(super().__exit__(kind, error, traceback))


def _is_of_handler(error: BaseException) -> bool:
    codes = set()
    # The first entry is the frame of the except clause itself.
    trace = error.__traceback__ and error.__traceback__.tb_next
    while trace is not None:
        codes.add(trace.tb_frame.f_code)
        trace = trace.tb_next
    if all(code.co_filename.startswith(_NEVER_OF_HANDLERS) for code in codes):
        return False
    return not codes.isdisjoint(_handlers())


def _handlers() -> set[CodeType]:
    """Returns the code objects of all signal handlers."""
    codes = set()
    for number in _SIGNALS:
        handler: object = _signal.getsignal(number)
        # Default handlers, and handlers written in C, have no Python code.
        if isinstance(handler, int) or handler is None:
            continue
        while isinstance(handler, partial):
            handler = handler.func
        for called in (handler, getattr(handler, "__func__", None), type(handler).__call__):
            code = getattr(called, "__code__", None)
            if isinstance(code, CodeType):
                codes.add(code)
    return codes
