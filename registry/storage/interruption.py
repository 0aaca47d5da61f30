"""Telling an exception of a signal handler from an error of the call that it interrupted.

A handler may raise anything, a `TimeoutError` for one, between any two steps. Where an
``except`` clause takes that for the failure of a call, whoever set the handler never
hears of it. So each such clause of `registry` hands the exception on first.

A handler written in Python is known by its code in the traceback. One written in C, and an
exception that another thread injects, cannot be told from an error of the call. What is
raised while the interpreter itself destroys an object is only printed, by Python's own rule.
"""

from __future__ import annotations

import contextlib
import json
import signal
from functools import partial
from pathlib import Path
from types import CodeType, TracebackType

# No handler is of these; decoders of JSON are named because whole files may be malformed.
_NEVER_OF_HANDLERS = (f"{Path(__file__).parents[1]}/", f"{Path(json.__file__).parent}/")
_SIGNALS = tuple(map(int, signal.valid_signals()))


def hand_on(error: BaseException) -> None:
    """Raises an exception again, if a signal handler raised it; call it first in the clause."""
    if _is_of_handler(error):
        context = error.__context__
        try:
            raise error
        finally:
            # No cycle: it would keep the frames, and their locks and files, until garbage is
            # collected. What is handled here may well have been made from this very error.
            error.__context__ = context
            del error, context


class tolerating(contextlib.suppress):  # noqa: N801
    """As `contextlib.suppress`, but what a signal handler raised goes on."""

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
    # The first entry is the clause's own frame.
    trace = error.__traceback__ and error.__traceback__.tb_next
    while trace is not None:
        codes.add(trace.tb_frame.f_code)
        trace = trace.tb_next
    if all(code.co_filename.startswith(_NEVER_OF_HANDLERS) for code in codes):
        return False
    return not codes.isdisjoint(_handlers())


def _handlers() -> set[CodeType]:
    """The code of every handler that is set."""
    found = set()
    for number in _SIGNALS:
        handler: object = signal.getsignal(number)
        if isinstance(handler, signal.Handlers):
            continue
        while isinstance(handler, partial):
            handler = handler.func
        for called in (handler, getattr(handler, "__func__", None), type(handler).__call__):
            code = getattr(called, "__code__", None)
            if isinstance(code, CodeType):
                found.add(code)
    return found
