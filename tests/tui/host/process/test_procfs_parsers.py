"""The parsers of /proc: whatever a process calls itself, no field of another one is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.host.process import descriptors, pane_environment, procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.procfs import LARGEST, Stat, Users

PAGE = os.sysconf("SC_PAGE_SIZE")

COMMANDS = st.binary(max_size=15).filter(lambda name: b"\0" not in name) | st.sampled_from(
    [b") R 1 1 1 1", b"(x) (y", b" ", b"\n", b")\n1 (x) S 1 1", b"Uid:\t0\t0\t0\t0", b"\xff)"]
)
NUMBERS = st.lists(st.integers(0, 2**60), min_size=49, max_size=49)


def stat_line(pid: int, name: bytes, numbers: list[int]) -> bytes:
    return b"%d (%s) S %s\n" % (pid, name, " ".join(map(str, numbers)).encode())


@given(st.integers(1, 4_000_000), COMMANDS, NUMBERS)
def test_a_programs_name_does_not_confuse(pid: int, name: bytes, numbers: list[int]) -> None:
    found = procfs.parse_stat(stat_line(pid, name, numbers))
    assert found == Stat(
        pid,
        os.fsdecode(name),
        "S",
        numbers[0],
        numbers[2],
        numbers[3],
        sum(numbers[10:14]),
        numbers[18],
        numbers[20] * PAGE,
        (b"%d" % numbers[46], b"%d" % numbers[47]),
        numbers[16],
        numbers[1],
    )


@given(st.integers(1, 4_000_000), COMMANDS, NUMBERS, st.data())
def test_an_incomplete_stat_is_not_a_process(
    pid: int, name: bytes, numbers: list[int], data: st.DataObject
) -> None:
    text = stat_line(pid, name.replace(b"\n", b""), numbers)
    cut = data.draw(st.integers(0, len(text) - 1))
    assert procfs.parse_stat(text[:cut]) is None


@given(st.binary(max_size=80))
def test_an_invalid_stat_is_not_a_process(text: bytes) -> None:
    assert procfs.parse_stat(text) is None or len(text.split()) > 21


def test_this_very_process_is_read() -> None:
    found = procfs.stat_of(os.getpid())
    assert found is not None
    assert (found.pid, found.parent, found.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert found.memory > 1 << 20
    assert not found.is_ended
    assert all(int(each) > 0 for each in found.environment)
    assert procfs.users_of(os.getpid()) == Users(*os.getresuid())
    assert procfs.namespace_pids_of(os.getpid())[-1] == os.getpid()


WORDS = st.binary(min_size=1, max_size=12).filter(lambda word: b"\0" not in word)


@given(st.lists(WORDS), st.integers(1, 40))
def test_of_what_a_process_was_given_only_whole_words_are_read(
    words: list[bytes], at_most: int
) -> None:
    text = b"".join(word + b"\0" for word in words)
    read = procfs.parse_words(procfs.whole_words(text[:at_most], at_most))
    assert read == [os.fsdecode(word) for word in words[: len(read)]]
    assert len(text) >= at_most or len(read) == len(words)


def test_a_pane_at_the_bound_is_not_taken_for_another() -> None:
    before, after = b"TMUX=/s,7,3\0X=", b"\0TMUX_PANE=%1"
    text = before + b"x" * (LARGEST - len(before) - len(after)) + after + b"2\0"
    said = pane_environment.parse_pane(procfs.whole_words(text[:LARGEST]))
    assert said == PaneEnvironment("/s", 7, "$3", "")


@given(st.binary(max_size=60))
def test_no_environment_confuses(text: bytes) -> None:
    said = pane_environment.parse_pane(text)
    assert said is None or said.pane == "" or said.pane.startswith("%")
    assert all(name.find("=") == -1 for name in procfs.parse_environment(text))


SOCKETS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@given(SOCKETS, st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_tmux_says_is_read_whatever_its_socket_is_called(
    socket: str, pid: int, session: int, pane: int
) -> None:
    text = f"A=1\0TMUX={socket},{pid},{session}\0TMUX_PANE=%{pane}\0".encode()
    assert pane_environment.parse_pane(text) == PaneEnvironment(
        socket, pid, f"${session}", f"%{pane}"
    )


@pytest.mark.parametrize(
    "tmux", ["", "/s", "/s,1", "/s,x,1", "/s,1,x", "/s,-1,1", "/s,1," + "9" * 19, "/s,1,1\n"]
)
def test_an_environment_unlike_tmuxs_names_no_pane(tmux: str) -> None:
    assert pane_environment.parse_pane(f"TMUX={tmux}\0TMUX_PANE=%1\0".encode()) is None


def status(name: bytes, real: int, effective: int, saved: int) -> bytes:
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    users = b"Uid:\t%d\t%d\t%d\t%d" % (real, effective, saved, effective)
    lines = [b"Name:\t" + escaped, b"Pid:\t5", users, b"Gid:\t1\t2\t3\t4", b"NSpid:\t5\t1"]
    return b"\n".join(lines) + b"\n"


USERS = st.integers(0, 2**32 - 1)


@given(COMMANDS, USERS, USERS, USERS)
def test_no_name_makes_a_process_another_users(
    name: bytes, real: int, effective: int, saved: int
) -> None:
    text = status(name, real, effective, saved)
    assert procfs.parse_users(text) == Users(real, effective, saved)
    assert procfs.parse_namespace_pids(text) == (5, 1)


@given(st.data())
def test_users_that_are_cut_off_are_unknown(data: st.DataObject) -> None:
    text = status(b"x", 1000, 1000, 1000)
    cut = data.draw(st.integers(0, text.index(b"Gid") - 1))
    assert procfs.parse_users(text[:cut]) is None


_NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"Uid:\\t7\\t7\\t7\\t7", 0, 0, 0)
print(flush=True)
sys.stdin.read()
"""


def test_a_process_that_calls_itself_another_users_is_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-S", "-c", _NAMED]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as named:
        assert named.stdout is not None
        assert named.stdout.readline() == b"\n"
        found = procfs.stat_of(named.pid)
        assert found is not None and found.name == "Uid:\t7\t7\t7\t7"
        assert procfs.users_of(named.pid) == Users(*os.getresuid())
        named.kill()


def test_sockets_are_read_by_their_paths() -> None:
    text = (
        b"Num       RefCount Protocol Flags    Type St Inode Path\n"
        b"0: 00000002 00000000 00010000 0001 01 11 /a b\xc2\xa0\n"
        b"0: 00000002 00000000 00000000 0001 03 12\n"
        b"0: 00000002 00000000 00000000 0001 03 13 rel\n"
        b"0: nonsense 0 zz 0001 03 13 /x\n\n"
    )
    found = [tuple(each) for each in descriptors.parse_unix_sockets(text)]
    assert found == [("11", True, "/a b\xa0"), ("13", False, "rel")]
