"""Calls functions that may hang because a file system does not answer.

A dead network server, or a program behind a FUSE mount, can make any access to a file hang for
hours. So each call runs in another thread, and the caller waits only for a limited time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from tui.progress import ProgressCallback

PATIENCE = 2.0
"""The seconds without a progress report after which a call counts as hanging."""

Answer = TypeVar("Answer")


class NoAnswerError(Exception):
    """A call has not returned in time."""


class _Call(Generic[Answer]):
    """One call in another thread than the caller's.

    Attributes:
        moved_at: The time of the last progress report, or else of the start of the call, in
            seconds of the monotonic clock.
        progress: The number of steps that are done, and the number of all steps.
    """

    def __init__(
        self,
        function: Callable[[ProgressCallback], Answer],
        on_late: Callable[[], None],
    ) -> None:
        self.moved_at = time.monotonic()
        self.progress = (0, 0)
        self._function = function
        self._on_late = on_late
        self._given_up = False
        self._change = threading.Condition()
        self._is_over = False
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether the call has returned or raised an exception."""
        with self._change:
            return self._is_over

    def run(self) -> None:
        """Calls the function, and stores its answer or its exception."""
        try:
            self._answer = self._function(self._step)
        except BaseException as error:
            self._error = error
        with self._change:
            self._is_over = True
            self._change.notify_all()
            given_up = self._given_up
        if given_up:
            self._on_late()

    def _step(self, what: str, done: int, of: int) -> None:
        self.moved_at = time.monotonic()
        self.progress = (done, of)

    def wait(self, patience: float) -> Answer:
        """Waits for the end of the call, and returns the answer.

        Args:
            patience: The seconds without a progress report after which the wait ends.

        Raises:
            NoAnswerError: The call has not returned in time.
            Exception: The call raised this exception.
        """
        with self._change:
            while not self._is_over:
                left = self.moved_at + patience - time.monotonic()
                if left <= 0:
                    self._given_up = True
                    raise NoAnswerError
                self._change.wait(left)
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]


class _Worker:
    """A thread that runs calls one after another.

    Args:
        call: The first call.
        idle: The seconds without a call after which the thread ends.
    """

    def __init__(self, call: _Call[Any], idle: float) -> None:
        self._idle = idle
        self._change = threading.Condition()
        self._next: _Call[Any] | None = call
        self._has_ended = False
        # A daemon thread does not delay the end of the program, even if the call still hangs.
        self._thread = threading.Thread(target=self._work, name="muster-read", daemon=True)
        self._thread.start()

    def take(self, call: _Call[Any]) -> bool:
        """Runs a call after the present one; returns False if the thread has ended."""
        with self._change:
            if not self._has_ended:
                self._next = call
                self._change.notify()
            return not self._has_ended

    def stop(self) -> None:
        """Ends the thread, which runs no call now; waits at most a second."""
        with self._change:
            self._idle = 0.0
            self._change.notify()
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        while (call := self._wait()) is not None:
            call.run()
            # The answer may be large, and the wait for the next call may be long.
            del call

    def _wait(self) -> _Call[Any] | None:
        with self._change:
            if self._next is None and self._idle:
                self._change.wait(self._idle)
            call, self._next = self._next, None
            self._has_ended = call is None
            return call


class Asker(Generic[Answer]):
    """Calls functions that may hang, one at a time. Not thread-safe.

    Args:
        on_late: Called when a call returns for which `NoAnswerError` was raised before. `on_late`
            runs in the thread of the call.
        idle: The seconds for which the thread of a call waits for the next call. The start of a
            thread takes longer than a short call.
    """

    def __init__(self, on_late: Callable[[], None] = lambda: None, idle: float = 0.0) -> None:
        self._on_late = on_late
        self._idle = idle
        self._call: _Call[Answer] | None = None
        self._worker: _Worker | None = None

    @property
    def is_hanging(self) -> bool:
        """Whether the last call has not returned."""
        return self._call is not None and not self._call.is_over

    @property
    def progress(self) -> tuple[int, int]:
        """The number of finished steps and the number of all steps of the last call."""
        return (0, 0) if self._call is None else self._call.progress

    def begin(self, function: Callable[[ProgressCallback], Answer]) -> None:
        """Starts a call. Does nothing if the last call has not returned.

        Args:
            function: The function to call. Its argument is a callback for progress reports.
        """
        if self.is_hanging:
            return
        self._call = _Call(function, self._on_late)
        if self._worker is None or not self._worker.take(self._call):
            self._worker = _Worker(self._call, self._idle)

    def stop(self) -> None:
        """Ends the thread that waits for the next call; does nothing while a call hangs."""
        if self._worker is not None and not self.is_hanging:
            self._worker.stop()

    def end(self, patience: float = PATIENCE) -> Answer:
        """Waits for the end of the last call, and returns the answer.

        Args:
            patience: The seconds without a progress report after which the wait ends.

        Raises:
            NoAnswerError: The call has not returned in time.
            Exception: The call raised this exception.
        """
        assert self._call is not None, "no call was begun"
        return self._call.wait(patience)

    def ask(self, function: Callable[[], Answer], patience: float = PATIENCE) -> Answer:
        """Calls a function, and returns the answer.

        Raises:
            NoAnswerError: The function has not returned in time. Or the last call has not
                returned, so the function was not called.
            Exception: The function raised this exception.
        """
        if self.is_hanging:
            raise NoAnswerError
        self.begin(lambda _: function())
        return self.end(patience)


def ask_each(calls: Sequence[Callable[[], Answer]]) -> list[Answer | None]:
    """Calls functions that may hang, each in its own thread.

    Returns:
        The answer of each function; None for a function that has not returned in time.

    Raises:
        Exception: A function raised this exception.
    """
    askers: list[Asker[Answer]] = []
    for call in calls:
        asker: Asker[Answer] = Asker()
        asker.begin(partial(_without_progress, call))
        askers.append(asker)
    answers: list[Answer | None] = []
    for asker in askers:
        try:
            answers.append(asker.end(PATIENCE))
        except NoAnswerError:
            answers.append(None)
    return answers


def _without_progress(call: Callable[[], Answer], _: ProgressCallback) -> Answer:
    return call()
