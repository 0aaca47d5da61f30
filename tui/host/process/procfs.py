"""Reads and parses the files in /proc/PID: status, arguments and environment.

Only this module, `pane_environment` and `descriptors` parse files in /proc/PID.

The parsers are pure. The readers limit the number of bytes, because another process can make some
of these files arbitrarily large. The name, arguments and environment of a process are untrusted
text, because the process chooses them. Linux only.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import NamedTuple

LARGEST = 1024 * 1024
"""The number of bytes that are read of an environment or a command line.

When a process starts, the kernel limits both texts to a few megabytes. Later, the process can
replace them by texts of any size (prctl(2), PR_SET_MM).
"""

INIT = 1
"""The pid of init, which becomes the parent of processes whose parent has ended."""

NAME_AT_MOST = 15
"""The number of bytes to which the kernel cuts the name of a program."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_BEGINNING = 4096
_ENDED = frozenset("ZX")
_DELETED = " (deleted)"

# PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h: the host's own PID namespace.
_INITIAL_NAMESPACE = 0xEFFFFFFC

_AUTOGROUP = re.compile(rb"/autogroup-([1-9][0-9]{0,17}) ")

# These expressions match only at the start of a line, because the name of the program, on the
# first line, may contain tabs and "Uid:". The kernel writes a newline in a name as two characters.
# They are compiled at their first use, because short commands read no process.
_USERS = rb"(?m)^Uid:\t([0-9]+)\t([0-9]+)\t([0-9]+)\t[0-9]+\n"
_NAMESPACE_PIDS = rb"(?m)^NSpid:((?:\t[0-9]+)+)\n"


# A tuple is faster to create than a dataclass, and each scan creates thousands.
class Stat(NamedTuple):
    """The data of a process at one moment; see proc_pid_stat(5).

    Attributes:
        pid: The process id.
        name: The name of the program, cut to `NAME_AT_MOST` bytes; untrusted text.
        state: The state of the first thread as one letter, for example ``R``.
        parent: The pid of the parent.
        session: The id of the process session (setsid(2)), which is not a tmux session.
        terminal: The number of the terminal; 0 without a terminal.
        ticks: The CPU time of the process and of its reaped children, in clock ticks.
        started: The start time in clock ticks since the boot.
        memory: The resident memory in bytes.
        environment: The start and end address of the environment. Both change when the process
            runs another program. Both are zero if muster is not allowed to read them.
        threads: The number of threads. The first thread is counted even after it has ended.
        group: The id of the process group (setpgid(2)).
    """

    pid: int
    name: str
    state: str
    parent: int
    session: int
    terminal: int
    ticks: int
    started: int
    memory: int
    environment: tuple[bytes, ...] = ()
    threads: int = 1
    group: int = 0

    @property
    def identity(self) -> tuple[int, int]:
        """The pid and the start time, which together identify the process."""
        return self.pid, self.started

    @property
    def is_ended(self) -> bool:
        """Whether the process has ended, even if its parent has not reaped it.

        The first thread may end before the other threads, so `state` alone is not enough.
        """
        return self.state in _ENDED and self.threads <= 1

    @property
    def leads_terminal(self) -> bool:
        """Whether the process leads a process session with a terminal, like a pane's process."""
        return self.session == self.pid and self.terminal != 0


class Users(NamedTuple):
    """The user ids of a process.

    Attributes:
        real: The user who started the process.
        effective: The user whose rights the process has.
        saved: A user whose rights the process may take at any time.
    """

    real: int
    effective: int
    saved: int


class Words(NamedTuple):
    """The words of a command line or environment.

    Attributes:
        words: The words.
        is_whole: Whether `words` is complete.
    """

    words: list[str]
    is_whole: bool


# Parsers


def parse_stat(text: bytes) -> Stat | None:
    """Parses ``/proc/PID/stat``; returns None if the text is incomplete or invalid."""
    if not text.endswith(b"\n"):
        return None
    # A program's name may contain spaces, brackets and newlines.
    pid, _, rest = text.partition(b" (")
    name, _, after = rest.rpartition(b")")
    fields = after.split()
    try:
        numbers = [int(field) for field in fields[1:22]]
        return Stat(
            int(pid),
            os.fsdecode(name),
            fields[0].decode("ascii"),
            numbers[0],
            numbers[2],
            numbers[3],
            sum(numbers[10:14]),
            numbers[18],
            numbers[20] * _PAGE,
            tuple(fields[47:49]),
            numbers[16],
            numbers[1],
        )
    except (ValueError, IndexError):
        return None


def whole_words(text: bytes, at_most: int = LARGEST) -> bytes:
    """Removes an incomplete last word of an environment or command line.

    Args:
        text: The text, up to the limit of the read.
        at_most: The limit of the read, in bytes.
    """
    return text if len(text) < at_most else text[: text.rfind(b"\0") + 1]


def parse_environment(text: bytes) -> dict[str, str]:
    """Parses ``/proc/PID/environ``, or the start of this file; maps variables to values."""
    settings = (word.partition("=") for word in parse_words(text))
    return {name: value for name, equals, value in settings if equals}


def is_overwritten(environment: bytes) -> bool:
    """Returns whether a process has overwritten its environment, for example to show a title.

    Some programs write a title over their command line and their environment (setproctitle).
    """
    if b"=" not in environment:
        return bool(environment)
    # The rest of the area is filled with null bytes; an environment has no empty words.
    return b"\0\0" in environment and b"TMUX=" not in environment


def parse_words(text: bytes) -> list[str]:
    """Parses ``/proc/PID/cmdline`` or ``environ``; empty words are left out."""
    return [os.fsdecode(word) for word in text.split(b"\0") if word]


def parse_users(text: bytes) -> Users | None:
    """Parses the start of ``/proc/PID/status``; None if the text is incomplete or invalid."""
    match = re.search(_USERS, text)
    return Users(*map(int, match.groups())) if match is not None else None


def parse_namespace_pids(text: bytes) -> tuple[int, ...]:
    """Returns the pids of a process in muster's PID namespace and in inner PID namespaces.

    Args:
        text: The content of ``/proc/PID/status``.
    """
    match = re.search(_NAMESPACE_PIDS, text)
    return tuple(int(pid) for pid in match[1].split()) if match is not None else ()


# Readers


def read(pid: int, name: str, at_most: int = LARGEST) -> bytes:
    """Reads the start of a file in /proc/PID.

    Args:
        pid: The process.
        name: The name of the file.
        at_most: The largest number of bytes to read.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the file.
    """
    return read_file(f"/proc/{pid}/{name}", at_most)


def read_file(path: str, at_most: int) -> bytes:
    """Reads the start of a file, given by its path in /proc; see `read`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while at_most > 0 and (chunk := os.read(file, min(at_most, 1 << 16))):
            chunks.append(chunk)
            at_most -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(file)


def running_thread(pid: int) -> str | None:
    """Returns the /proc directory of another thread, if the first thread of a process has ended.

    Then the environment and the open files of the process cannot be read in /proc/PID.

    Returns:
        The directory; None if the first thread runs, or if all threads have ended.
    """
    stat = stat_of(pid)
    if stat is None or stat.is_ended or stat.state not in _ENDED:
        return None
    others = (name for name in os.listdir(f"/proc/{pid}/task") if name != str(pid))
    return next((f"/proc/{pid}/task/{name}" for name in others), None)


def _beginning(pid: int, name: str) -> bytes:
    """Reads the start of a file in /proc/PID with one system call."""
    file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _BEGINNING)
    finally:
        os.close(file)


def stat_of(pid: int) -> Stat | None:
    """Returns the data of a process; None if the process is not visible."""
    try:
        return parse_stat(_beginning(pid, "stat"))
    except OSError:
        return None


def may_exist(pid: int) -> bool:
    """Returns whether a process may exist, although `stat_of` returns nothing.

    Without a permission (SELinux), or if the system has no memory or no free descriptor, the data
    of an existing process cannot be read.
    """
    try:
        os.lstat(f"/proc/{pid}")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True


def all_stats() -> dict[int, Stat]:
    """Maps the pids of all visible processes to the data of these processes.

    Raises:
        OSError: The processes cannot be listed.
    """
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    # A process may end between the listing and the read.
    return {pid: stat for pid in pids if (stat := stat_of(pid)) is not None}


def begun_at(stat: Stat) -> float:
    """Returns the latest possible start time of a process, in seconds since the epoch.

    The clock's resolution of 10 ms and the delay of this call can make the result too late. So
    compare `Stat.started` to identify a process.
    """
    # "btime" in /proc/stat has only whole seconds.
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + (stat.started + 1) / _TICKS


def program_name(stat: Stat) -> str:
    """Returns the name of a program.

    The kernel cuts long names. Such a name is completed from the command line, if possible.
    """
    if len(os.fsencode(stat.name)) < NAME_AT_MOST:
        return stat.name
    with suppress(OSError):
        whole = os.path.basename(os.fsdecode(arguments(stat.pid)[0]))
        if whole.startswith(stat.name):
            return whole
    return stat.name


def read_words(pid: int, name: str, at_most: int = LARGEST) -> bytes:
    """Reads the start of a command line or environment, without an incomplete last word.

    See `read` for the arguments and errors.
    """
    return whole_words(read(pid, name, at_most), at_most)


def arguments(pid: int) -> list[bytes]:
    """Returns the command line of a process as words, the program first.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the command line.
    """
    return read_words(pid, "cmdline").split(b"\0")


def hides_processes() -> bool:
    """Returns whether /proc may hide the processes of other users from muster.

    This is the case if /proc is mounted with ``hidepid=noaccess`` or ``hidepid=invisible``; see
    proc(5). Root sees all processes, except in a user namespace.
    """
    # Init always runs, and is a process of another user.
    return stat_of(INIT) is None


def sees_the_host() -> bool:
    """Returns whether muster sees all processes of the host; False in a container."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_NAMESPACE
    except OSError:
        return False


def numbers_are_ours() -> bool:
    """Returns whether the pids in /proc belong to the PID namespace of muster.

    In a container with the host's /proc, the pids belong to the host's namespace. In such a
    container, a signal to a pid from /proc would reach another process.
    """
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def environment(pid: int) -> dict[str, str]:
    """Returns the environment of a process as a dictionary; reads only the first `LARGEST` bytes.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the environment.
    """
    return parse_environment(read_words(pid, "environ"))


def words(pid: int, name: str) -> Words:
    """Returns the words in the first `LARGEST` bytes of a command line or environment.

    Args:
        pid: The process.
        name: ``cmdline`` or ``environ``.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the words.
    """
    text = read(pid, name)
    is_whole = len(text) < LARGEST and not (name == "environ" and is_overwritten(text))
    return Words(parse_words(whole_words(text)), is_whole)


def users_of(pid: int) -> Users | None:
    """Returns the users of a process; None if the process is not visible."""
    # The owner of /proc/PID is root for a process that muster may not inspect.
    try:
        return parse_users(_beginning(pid, "status"))
    except OSError:
        return None


def namespace_pids_of(pid: int) -> tuple[int, ...]:
    """Returns the pids of a process in muster's PID namespace and in inner PID namespaces.

    The result is empty if the process is not visible.
    """
    try:
        return parse_namespace_pids(read(pid, "status"))
    except OSError:
        return ()


def session_order_of(pid: int) -> int | None:
    """Returns the number of a process's process session (setsid(2)).

    Later process sessions have greater numbers. The kernel numbers the scheduling groups that it
    creates for process sessions (sched(7), "The autogroup feature"). So the number is known even
    after the leader of the process session has ended.

    Returns:
        The number; None if the kernel has no such groups, or the process is not visible.
    """
    try:
        match = _AUTOGROUP.match(_beginning(pid, "autogroup"))
    except OSError:
        return None
    return int(match[1]) if match is not None else None


def working_directory(pid: int) -> str:
    """Returns the working directory of a process.

    If the directory was deleted, the result is the former path of the directory.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the working directory.
    """
    path = os.readlink(f"/proc/{pid}/cwd")
    return path if os.path.lexists(path) else path.removesuffix(_DELETED)


def has_our_mounts(pid: int) -> bool:
    """Returns whether every path leads a process and muster to the same file.

    This is so if both have the same mount namespace and the same root directory.

    Raises:
        OSError: The process has ended, or muster is not allowed to read this data.
    """
    if not os.path.samefile(f"/proc/{pid}/ns/mnt", "/proc/self/ns/mnt"):
        return False
    return os.path.samefile(f"/proc/{pid}/root", "/proc/self/root")
