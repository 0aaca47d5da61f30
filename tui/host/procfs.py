"""What the kernel tells of processes: the one parser of the files in /proc/PID.

The parsers are pure. The readers beside them read no more than a process can have been given:
another process may make some of these files as large as it likes. What a process chose itself
(its name, its arguments, its environment) is foreign text. Linux only.
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
"""Bytes that are read of a process's environment or command line, at most.

The kernel starts no process with more than a few megabytes of both. But any process may say
that they are elsewhere in its memory (prctl(2), PR_SET_MM), and of any size.
"""

INIT = 1
"""The process that is the parent of whatever lost its own."""

NAME_AT_MOST = 15
"""Bytes that the kernel keeps of a program's name."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_BEGINNING = 4096
_SOCKETS_AT_MOST = 64 * 1024 * 1024
_ENDED = frozenset("ZX")
_LISTENING = 0x10000  # __SO_ACCEPTCON, in the flags of /proc/PID/net/unix
_DELETED = " (deleted)"

_PANE = re.compile(rb"%[0-9]+")
_NUMBER = re.compile(rb"[0-9]{1,18}")

# Only what begins a line counts: the name, on the first one, may have tabs and "Uid:" in it.
# The kernel writes the newlines of a name as two characters.
_USERS = re.compile(rb"^Uid:\t([0-9]+)\t([0-9]+)\t([0-9]+)\t[0-9]+\n", re.MULTILINE)
_NAMESPACE_PIDS = re.compile(rb"^NSpid:((?:\t[0-9]+)+)\n", re.MULTILINE)


# A tuple, not a dataclass: thousands are made at every look.
class Stat(NamedTuple):
    """One process at one moment; see proc_pid_stat(5).

    Attributes:
        name: The name of its program, cut to `NAME_AT_MOST` bytes; foreign text.
        state: One letter, for example ``R``.
        session: Its process session, not a session of tmux.
        terminal: The number of its terminal; 0 if it has none.
        ticks: CPU time of it and of its children that ended and were waited for.
        started: In ticks since the host was booted.
        memory: Resident bytes.
        environment: Where in its memory its environment lies; changes when it runs another
            program. Zeros where that must not be known.
        threads: How many threads it has; one that ended stays counted if it is the first.
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

    @property
    def identity(self) -> tuple[int, int]:
        """Tells it from a later process of the same pid."""
        return self.pid, self.started

    @property
    def is_ended(self) -> bool:
        """Whether the process ended, and its parent has not yet waited for it.

        The state is that of the first thread, which may end before the others.
        """
        return self.state in _ENDED and self.threads <= 1

    @property
    def leads_terminal(self) -> bool:
        """Whether it leads a process session with a terminal, as a pane's first process does."""
        return self.session == self.pid and self.terminal != 0


class PaneEnvironment(NamedTuple):
    """What a process's environment says of the pane that it was started in.

    It proves nothing: it is what the owner of the process wants it to be.

    Attributes:
        socket: The path of the server's socket.
        server_pid: The server's process.
        session: The id of the session, for example ``$3``.
        pane: The pane's id; empty if it says none.
    """

    socket: str
    server_pid: int
    session: str
    pane: str


class Users(NamedTuple):
    """The users of a process, by their numbers.

    Attributes:
        real: The user who runs it, whatever it may do with the rights of others.
    """

    real: int
    effective: int
    saved: int


class UnixSocket(NamedTuple):
    """A line of ``/proc/PID/net/unix``.

    Attributes:
        inode: Its number, in digits.
        path: As it was named when it was bound; may be relative.
    """

    inode: str
    listens: bool
    path: str


# Pure


def parse_stat(text: bytes) -> Stat | None:
    """Reads the content of ``/proc/PID/stat``; None if it is cut off or something else."""
    if not text.endswith(b"\n"):
        return None
    # A program's name may have blanks, brackets and newlines in it.
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
        )
    except (ValueError, IndexError):
        return None


def whole_words(text: bytes, at_most: int = LARGEST) -> bytes:
    """What was read of an environment or a command line, without a last word that is cut off.

    Args:
        text: What was read.
        at_most: Bytes that were to be read.
    """
    return text if len(text) < at_most else text[: text.rfind(b"\0") + 1]


def parse_environment(text: bytes) -> dict[str, str]:
    """Reads the content of ``/proc/PID/environ``, or the beginning of it."""
    settings = (each.partition("=") for each in parse_words(text))
    return {name: value for name, equals, value in settings if equals}


def parse_words(text: bytes) -> list[str]:
    """Reads the content of ``/proc/PID/cmdline`` or ``environ``; empty words are left out."""
    return [os.fsdecode(word) for word in text.split(b"\0") if word]


def parse_pane(text: bytes) -> PaneEnvironment | None:
    """What an environment says of a pane; None if it says nothing that tmux would."""
    if b"TMUX=" not in text:
        return None
    says = dict(each.partition(b"=")[::2] for each in text.split(b"\0") if each)
    # TMUX is "socket,server pid,session number"; a path may have commas in it.
    socket, *words = says.get(b"TMUX", b"").rsplit(b",", 2)
    pane = says.get(b"TMUX_PANE", b"")
    if len(words) != 2 or not all(map(_NUMBER.fullmatch, words)):
        return None
    return PaneEnvironment(
        os.fsdecode(socket),
        int(words[0]),
        f"${int(words[1])}",
        pane.decode() if _PANE.fullmatch(pane) else "",
    )


def parse_users(text: bytes) -> Users | None:
    """Reads the beginning of ``/proc/PID/status``; None if it is cut off or something else."""
    match = _USERS.search(text)
    return Users(*map(int, match.groups())) if match is not None else None


def parse_namespace_pids(text: bytes) -> tuple[int, ...]:
    """Reads from ``/proc/PID/status`` a process's pid here and in each PID namespace within."""
    match = _NAMESPACE_PIDS.search(text)
    return tuple(int(each) for each in match[1].split()) if match is not None else ()


def parse_unix_sockets(text: bytes) -> Iterator[UnixSocket]:
    """Reads the content of ``/proc/PID/net/unix``: the sockets that have a path."""
    for line in text.split(b"\n")[1:]:
        # Bytes: what is a blank to str may be part of a path.
        fields = line.split(maxsplit=7)
        with suppress(ValueError):
            if len(fields) == 8:
                listens = bool(int(fields[3], 16) & _LISTENING)
                yield UnixSocket(fields[6].decode("ascii"), listens, os.fsdecode(fields[7]))


# Reading


def read(pid: int, name: str, at_most: int = LARGEST) -> bytes:
    """The beginning of a file in /proc/PID.

    Args:
        pid: The process.
        name: The file's name.
        at_most: Bytes that are read.

    Raises:
        OSError: The process has ended, or the file must not be read.
    """
    file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while at_most > 0 and (chunk := os.read(file, min(at_most, 1 << 16))):
            chunks.append(chunk)
            at_most -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(file)


def _beginning(pid: int, name: str) -> bytes:
    """As much of a file as the kernel writes in one piece, which is the whole of most."""
    file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _BEGINNING)
    finally:
        os.close(file)


def stat_of(pid: int) -> Stat | None:
    """One process at this moment; None if it is not to be seen."""
    try:
        return parse_stat(_beginning(pid, "stat"))
    except OSError:
        return None


def all_stats() -> dict[int, Stat]:
    """All processes that are to be seen, by their pids.

    Raises:
        OSError: They cannot be listed.
    """
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    # Processes come and go while they are looked at.
    return {pid: stat for pid in pids if (stat := stat_of(pid)) is not None}


def begun_at(stat: Stat) -> float:
    """When a process began at the latest, in seconds since the epoch; compare ticks instead.

    Later than that it did not: the clock's grain, 10 ms, and any delay here are added.
    """
    # Not from "btime" in /proc/stat, which is in whole seconds.
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + (stat.started + 1) / _TICKS


def program_name(stat: Stat) -> str:
    """The name of a process's program: in full, if its command line begins with it."""
    if len(os.fsencode(stat.name)) < NAME_AT_MOST:
        return stat.name
    with suppress(OSError):
        whole = os.path.basename(os.fsdecode(arguments(stat.pid)[0]))
        if whole.startswith(stat.name):
            return whole
    return stat.name


def _given(pid: int, name: str) -> bytes:
    return whole_words(read(pid, name))


def arguments(pid: int) -> list[bytes]:
    """What a process was started with, as far as it is read: its program's name, its arguments.

    Raises:
        OSError: The process has ended, or its command line must not be read.
    """
    return _given(pid, "cmdline").split(b"\0")


def numbers_are_ours() -> bool:
    """Whether the pids in /proc are those of this process's own PID namespace.

    Inside a container that was given the host's /proc they are not: a signal to such a
    number would meet another process.
    """
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def environment(pid: int) -> dict[str, str]:
    """What a process was given as its environment, as far as it is read.

    Raises:
        OSError: The process has ended, or its environment must not be read.
    """
    return parse_environment(_given(pid, "environ"))


def words(pid: int, name: str) -> list[str]:
    """What a process was given, word by word; none where that must not be read.

    Args:
        pid: The process.
        name: ``cmdline`` or ``environ``.
    """
    with suppress(OSError):
        return parse_words(_given(pid, name))
    return []


def pane_said_by(pid: int) -> PaneEnvironment | None:
    """What a process says of its pane; None if it says nothing, or that is not to be read.

    The numbers of another PID namespace are not ours, such as those of a tmux server in a
    container. But what a pane began in a namespace of its own (``unshare -p``) says what
    the pane did: then the namespace's first process, which was made from ours, says it too.
    """
    try:
        said = parse_pane(_given(pid, "environ"))
        if said is None or _is_in_our_namespace(pid):
            return said
        first = _first_of_namespace(pid)
        says_too = first is not None and parse_pane(_given(first, "environ")) == said
        return said if says_too else None
    except OSError:
        return None


def _first_of_namespace(pid: int) -> int | None:
    """The first process of the namespace beneath ours that a process is in, by its pid here."""
    if not numbers_are_ours():
        return None
    passed: set[int] = set()
    while (stat := stat_of(pid)) is not None and pid not in passed:
        passed.add(pid)
        if len(namespace_pids_of(stat.parent)) == 1:
            # What entered it from elsewhere, as with nsenter, may have been told anything.
            return pid if namespace_pids_of(pid)[-1:] == (1,) else None
        pid = stat.parent
    return None


def _is_in_our_namespace(pid: int) -> bool:
    return os.stat(f"/proc/{pid}/ns/pid").st_ino == os.stat("/proc/self/ns/pid").st_ino


def users_of(pid: int) -> Users | None:
    """A process's users; None if it is not to be seen."""
    # Not by who owns /proc/PID: for a process that must not be looked into that is root.
    try:
        return parse_users(_beginning(pid, "status"))
    except OSError:
        return None


def namespace_pids_of(pid: int) -> tuple[int, ...]:
    """A process's pid here and in each PID namespace within; empty if it is not to be seen."""
    try:
        return parse_namespace_pids(read(pid, "status"))
    except OSError:
        return ()


def working_directory(pid: int) -> str:
    """Where a process works, by the name that it had if it was deleted.

    Raises:
        OSError: The process has ended, or that must not be known.
    """
    path = os.readlink(f"/proc/{pid}/cwd")
    return path if os.path.lexists(path) else path.removesuffix(_DELETED)


def open_files(pid: int) -> Iterator[tuple[str, str]]:
    """The numbers of a process's open files, and where they lead; foreign text.

    Raises:
        OSError: The process has ended, or that must not be known.
    """
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            yield number, os.readlink(f"/proc/{pid}/fd/{number}")


def may_see_files(pid: int) -> bool:
    """Whether we may know what a process has open."""
    return os.access(f"/proc/{pid}/fd", os.R_OK | os.X_OK)


def is_open_for_writing(pid: int, number: str) -> bool:
    """Whether a process may write an open file, by its number.

    Raises:
        OSError: It is open no more, or that must not be known.
        ValueError: The kernel does not say.
    """
    for line in read(pid, f"fdinfo/{number}").split(b"\n"):
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    raise ValueError(f"/proc/{pid}/fdinfo/{number} has no flags")


def listening_path(pid: int) -> Path | None:
    """The path that a process listens at; None if it does not, or that is not to be known."""
    with suppress(OSError):
        links = (target for _, target in open_files(pid))
        own = {each[len("socket:[") : -1] for each in links if each.startswith("socket:[")}
        every = read(pid, "net/unix", _SOCKETS_AT_MOST)
        for each in parse_unix_sockets(every):
            if each.listens and each.inode in own:
                # It may have been told a relative one.
                return Path(os.readlink(f"/proc/{pid}/cwd"), each.path)
    return None
