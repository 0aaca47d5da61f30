"""Reads and parses the files in /proc/PID. Only this module parses these files.

The parsers are pure. The readers limit the number of bytes, because another process can make some
of these files arbitrarily large. The name, arguments and environment of a process are untrusted
text, because the process chooses them. Linux only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LARGEST = 1024 * 1024
"""The number of bytes that are read of an environment or a command line.

When a process starts, the kernel limits both texts to a few megabytes. Later, the process can
replace them by texts of any size (prctl(2), PR_SET_MM).
"""

WHOLE_ENVIRONMENT = 8 * LARGEST
"""The number of bytes of an environment that are searched for the name of a pane.

When a process starts, the kernel limits its environment to 6 MiB.
"""

INIT = 1
"""The pid of init, which becomes the parent of processes whose parent has ended."""

NAME_AT_MOST = 15
"""The number of bytes to which the kernel cuts the name of a program."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_BEGINNING = 4096
_SOCKETS_AT_MOST = 64 * 1024 * 1024
_ENDED = frozenset("ZX")
_LISTENING = 0x10000  # __SO_ACCEPTCON, in the flags of /proc/PID/net/unix
_DELETED = " (deleted)"

_LONGEST_NUMBER = 18

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


class PaneEnvironment(NamedTuple):
    """The tmux server, session and pane that the environment of a process names.

    This is not a proof: the owner of the process can set any value.

    Attributes:
        socket: The path of the server's socket.
        server_pid: The pid of the server.
        session: The id of the session, for example ``$3``.
        pane: The id of the pane, for example ``%5``; empty if the environment names no pane.
    """

    socket: str
    server_pid: int
    session: str
    pane: str


UNREAD = PaneEnvironment("", 0, "", "")
"""The result for a process whose environment is too large to be read: its pane is not known."""

HIDDEN = PaneEnvironment("", -1, "", "")
"""The result for a process whose environment is overwritten, or that muster may not read."""


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


class UnixSocket(NamedTuple):
    """A line of ``/proc/PID/net/unix``.

    Attributes:
        inode: The inode number, in digits.
        listens: Whether a process listens at the socket.
        path: The path to which the socket was bound; may be relative.
    """

    inode: str
    listens: bool
    path: str


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


def parse_pane(text: bytes) -> PaneEnvironment | None:
    """Returns the pane that an environment names; None if ``TMUX`` is missing or invalid."""
    if b"TMUX=" not in text:
        return None
    # TMUX is "socket,server pid,session number"; the socket's path may contain commas.
    socket, *words = _value_of(b"TMUX", text).rsplit(b",", 2)
    pane = _value_of(b"TMUX_PANE", text)
    if len(words) != 2 or not all(map(_is_number, words)):
        return None
    return PaneEnvironment(
        os.fsdecode(socket),
        int(words[0]),
        f"${int(words[1])}",
        pane.decode() if pane.startswith(b"%") and pane[1:].isdigit() else "",
    )


def _value_of(name: bytes, text: bytes) -> bytes:
    """Returns the last value of a variable in an environment; empty if the variable is not set."""
    # The words are not split, because other users can start many processes with millions of words.
    _, is_there, after = (b"\0" + text).rpartition(b"\0" + name + b"=")
    return after.partition(b"\0")[0] if is_there else b""


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _LONGEST_NUMBER


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


def parse_unix_sockets(text: bytes) -> Iterator[UnixSocket]:
    """Parses ``/proc/PID/net/unix``; yields the sockets that have a path."""
    for line in text.split(b"\n")[1:]:
        # Split bytes, because str.split() has more separators, which a path may contain.
        fields = line.split(maxsplit=7)
        with suppress(ValueError):
            if len(fields) == 8:
                listens = bool(int(fields[3], 16) & _LISTENING)
                yield UnixSocket(fields[6].decode("ascii"), listens, os.fsdecode(fields[7]))


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
    return _read(f"/proc/{pid}/{name}", at_most)


def _read(path: str, at_most: int) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while at_most > 0 and (chunk := os.read(file, min(at_most, 1 << 16))):
            chunks.append(chunk)
            at_most -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(file)


def _running_thread(pid: int) -> str | None:
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


def _given(pid: int, name: str, at_most: int = LARGEST) -> bytes:
    return whole_words(read(pid, name, at_most), at_most)


def arguments(pid: int) -> list[bytes]:
    """Returns the command line of a process as words, the program first.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the command line.
    """
    return _given(pid, "cmdline").split(b"\0")


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
    return parse_environment(_given(pid, "environ"))


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


def pane_said_by(pid: int) -> PaneEnvironment | None:
    """Returns the pane that the environment of a process names.

    If the process is in another PID namespace (a container), the pid of the server has another
    meaning for muster, and the result is None. There is one exception: the namespace was started
    in a pane (``unshare -p``), and the first process of the namespace names the same pane.

    Returns:
        The pane; None if the environment names no pane, or the process has ended. `UNREAD` if the
        environment is longer than `WHOLE_ENVIRONMENT`, and no pane was found in the first part.
        `HIDDEN` if muster is not allowed to read the environment, or if the process overwrote it.
    """
    try:
        place = f"/proc/{pid}"
        try:
            whole = _read(f"{place}/environ", WHOLE_ENVIRONMENT)
        except ProcessLookupError:
            place = _running_thread(pid) or place
            whole = _read(f"{place}/environ", WHOLE_ENVIRONMENT)
        pane = parse_pane(whole_words(whole, WHOLE_ENVIRONMENT))
        if pane is None and len(whole) >= WHOLE_ENVIRONMENT:
            return UNREAD
        if is_overwritten(whole):
            return HIDDEN
        if pane is None or _is_in_our_namespace(place):
            return pane
        first = _first_of_namespace(pid)
        if first is None:
            return None
        agrees = parse_pane(_given(first, "environ", WHOLE_ENVIRONMENT)) == pane
        return pane if agrees else None
    except PermissionError:
        return HIDDEN
    except OSError:
        return None


def pane_id_of(pid: int) -> str | None:
    """Returns the value of ``TMUX_PANE`` in the environment of a process.

    This id does not say which tmux server has the pane; see `pane_said_by`.

    Returns:
        The id. None if the variable is not set or cannot be read, or if the process is in another
        PID namespace.
    """
    try:
        is_ours = _is_in_our_namespace(f"/proc/{pid}")
        return environment(pid).get("TMUX_PANE") if is_ours else None
    except OSError:
        return None


def _first_of_namespace(pid: int) -> int | None:
    """Returns the pid of the first process of a PID namespace; None if it cannot be known.

    The namespace is the outermost one that contains the process, but not muster.
    """
    if not numbers_are_ours():
        return None
    visited: set[int] = set()
    while (stat := stat_of(pid)) is not None and pid not in visited:
        visited.add(pid)
        if len(namespace_pids_of(stat.parent)) == 1:
            # A process that entered from outside (nsenter) may have any environment.
            return pid if namespace_pids_of(pid)[-1:] == (1,) else None
        pid = stat.parent
    return None


def _is_in_our_namespace(process: str) -> bool:
    return os.stat(f"{process}/ns/pid").st_ino == os.stat("/proc/self/ns/pid").st_ino


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


def open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Yields the link in /proc and the target of each open file of a process.

    The target is untrusted text.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the open files.
    """
    has_files = False
    # Not a list: another user's process may have very many open files.
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            has_files = True
            with suppress(OSError):
                yield entry.path, os.readlink(entry.path)
    if not has_files and (thread := _running_thread(pid)) is not None:
        for name in os.listdir(f"{thread}/fd"):
            with suppress(OSError):
                yield f"{thread}/fd/{name}", os.readlink(f"{thread}/fd/{name}")


def may_see_files(pid: int) -> bool:
    """Returns whether muster may list the open files of a process."""
    return os.access(f"/proc/{pid}/fd", os.R_OK | os.X_OK)


def is_open_for_writing(link: str) -> bool:
    """Returns whether a process has opened a file for writing.

    Args:
        link: The link of the open file, from `open_files`.

    Raises:
        OSError: The file is closed, or muster is not allowed to read the file's flags.
        ValueError: The kernel reports no flags.
    """
    folder, number = os.path.split(link)
    for line in _read(f"{folder}info/{number}", LARGEST).split(b"\n"):
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    raise ValueError(f"{folder}info/{number} has no flags")


def listening_socket(pid: int) -> UnixSocket | None:
    """Returns the first socket with a path at which a process listens.

    Returns:
        The socket, with an absolute path. None if the process has no such socket, or if muster is
        not allowed to see the open files of the process.
    """
    with suppress(OSError):
        links = (target for _, target in open_files(pid))
        inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        table = read(pid, "net/unix", _SOCKETS_AT_MOST)
        for unix_socket in parse_unix_sockets(table):
            if unix_socket.listens and unix_socket.inode in inodes:
                # The path may be relative to the working directory.
                path = os.path.join(os.readlink(f"/proc/{pid}/cwd"), unix_socket.path)
                return unix_socket._replace(path=path)
    return None


def listening_path(pid: int) -> Path | None:
    """Returns the absolute path of `listening_socket`; None without such a socket."""
    unix_socket = listening_socket(pid)
    return None if unix_socket is None else Path(unix_socket.path)


def has_our_mounts(pid: int) -> bool:
    """Returns whether every path leads a process and muster to the same file.

    This is so if both have the same mount namespace and the same root directory.

    Raises:
        OSError: The process has ended, or muster is not allowed to read this data.
    """
    if not os.path.samefile(f"/proc/{pid}/ns/mnt", "/proc/self/ns/mnt"):
        return False
    return os.path.samefile(f"/proc/{pid}/root", "/proc/self/root")


def listens(pid: int) -> bool | None:
    """Returns whether a process listens at a socket with a path; None if that cannot be known."""
    if listening_path(pid) is not None:
        return True
    return False if may_see_files(pid) else None
