"""Kills child processes at a given system call, with ptrace(2).

The parent should use little memory, because it forks once for every kill.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

_TRACEME = 0
_SYSCALL = 24
_SETOPTIONS = 0x4200
_O_TRACESYSGOOD = 0x1
_O_EXITKILL = 0x100000

# With O_TRACESYSGOOD, this bit distinguishes a stop at a system call from a signal.
_SYSCALL_STOP = signal.SIGTRAP | 0x80

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

_DONE = b"done"


@dataclass(frozen=True, slots=True)
class Run:
    """The end of a child process.

    Attributes:
        calls: The number of system calls that the child made or was about to make.
        killed: Whether the child was killed. If False, it ended by itself.
        acknowledged: Whether the child had reported that its action was done.
    """

    calls: int
    killed: bool
    acknowledged: bool


def run_to_call(action: Callable[[], object], last: int | None) -> Run:
    """Runs an action in a child, and kills the child before one of its system calls.

    A process changes no file between two system calls. So a kill before each system call is also a
    kill after each system call.

    Args:
        action: The action. The child reports the end of the action to the parent.
        last: The number of the system call before which the child is killed, counted from 1; None
            for no kill.
    """
    pid, hear = _fork(_be_traced, action)
    try:
        calls, status = _step(pid, lambda number: number == last)
        return _ended(calls, status, hear)
    finally:
        os.close(hear)


def stop_at_calls(action: Callable[[], object], look: Callable[[], object]) -> Run:
    """Runs an action in a child, and calls a function before each system call of the child.

    Args:
        action: The action.
        look: The function, which is called in the parent while the child is stopped.
    """
    pid, hear = _fork(_be_traced, action)
    try:
        calls, status = _step(pid, lambda _: bool(look() and False))
        return _ended(calls, status, hear)
    finally:
        os.close(hear)


def run(action: Callable[[], object]) -> Run:
    """Runs an action in a child; the action may kill the child."""
    pid, hear = _fork(lambda: None, action)
    try:
        _, status = os.waitpid(pid, 0)
        return _ended(0, status, hear)
    finally:
        os.close(hear)


def _be_traced() -> None:
    _ask(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def _fork(begin: Callable[[], object], action: Callable[[], object]) -> tuple[int, int]:
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            begin()
            action()
            os.write(say, _DONE)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(say)
    return pid, hear


def _step(pid: int, dies: Callable[[int], bool]) -> tuple[int, int]:
    """Runs a child from call to call; returns the number of calls, and the exit status."""
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status), f"not traced: {status}"
    _ask(_SETOPTIONS, pid, _O_TRACESYSGOOD | _O_EXITKILL)
    calls = 0
    within = False
    pending = 0
    while True:
        _ask(_SYSCALL, pid, pending)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return calls, status
        pending = os.WSTOPSIG(status)
        if pending != _SYSCALL_STOP:
            continue
        pending = 0
        # The child stops twice for every call: before and after the call.
        within = not within
        calls += within
        if within and dies(calls):
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            return calls, status


def _ended(calls: int, status: int, hear: int) -> Run:
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, f"the child failed: {os.waitstatus_to_exitcode(status)}"
    return Run(calls, killed, os.read(hear, len(_DONE)) == _DONE)


def _ask(request: int, pid: int, data: int = 0) -> None:
    if _libc.ptrace(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")
