"""Every error names its file and says what to do; none advises to destroy anything."""

from __future__ import annotations

import ast
import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

import registry
from registry import (
    CorruptRegistryError,
    InaccessibleRegistryError,
    LockedRegistryFile,
    RegistryError,
    WorkspaceNotFoundError,
    errors,
    read_registry,
)
from registry.storage.codec import MAX_BYTES, decode, encode
from tests.support.errors import ERRORS
from tests.support.selection import case

HOME = Path(registry.__file__).parent

# What tells the user to do something.
ADVICE = re.compile(
    r"Check|Choose|Correct|Find|Keep|Look|look|Make|Move|move it aside|Name|name (it|that)|"
    r"Put|put |Raise|raise|Save|Set|Try|try again|Use|Wait|Write|fuser|free|mount|must be|"
    r"make |move |remove |open the registry again|end |close some|shorten|correct them"
)
DESTROYS = re.compile(r"(remove|delete) it\b|\brm\b", re.I)


def assert_says_what_to_do(said: str) -> None:
    assert ADVICE.search(said), said
    assert not DESTROYS.search(said.replace("Do not delete this file", "")), said


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_says_what_to_do(error: RegistryError) -> None:
    assert_says_what_to_do(str(error))


@pytest.mark.parametrize(
    "doing", ["read", "write", "recover", "open for writing", "create", "lock"]
)
def test_whatever_the_system_refuses_there_is_something_to_do(doing: str) -> None:
    kept = "Its journal is kept" if doing == "recover" else "Nothing was changed"
    for number, name in errno.errorcode.items():
        cause = OSError(number, os.strerror(number))
        error = InaccessibleRegistryError(Path("/somewhere/a.json"), cause, doing)
        with case(name):
            assert_says_what_to_do(str(error))
            assert "/somewhere/a.json" in str(error)
            assert kept in str(error)


TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "if the file stays empty, restore a copy"),
    "blank": (b" \n", "if the file stays empty, restore a copy"),
    "cut short": (b'{\n  "agents": [', "Correct the file by hand"),
    "cut off": (b'\0"agents": []}', r"Do not delete the journal: the next process that opens"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "Save the file as UTF-8 without a byte order mark"),
    "UTF-16": ("{}".encode("utf-16"), "Save the file as UTF-8"),
    "twice": (b'{"a": 1, "a": 2}', "rename or remove one of the two keys by hand"),
    "nested": (b'{"a":' * 200_000, "flatter by hand"),
    "too large a number": (b'{"a": 1e999}', "Correct the file by hand"),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}", "Correct the file by hand"),
    "an array": (b"[]", "Correct the file by hand"),
    "too large": (b" " * (MAX_BYTES + 1), "Make the file smaller by hand"),
}


@pytest.mark.parametrize(("text", "remedy"), TEXTS.values(), ids=TEXTS)
def test_whatever_a_registry_holds_there_is_something_to_do(text: bytes, remedy: str) -> None:
    path = Path("/somewhere/AGENT_REGISTRY.json")
    with pytest.raises(CorruptRegistryError, match=f"{path}.*nothing was written.*{remedy}"):
        decode(text, path)


def test_what_cannot_be_written_is_not_and_there_is_something_to_do(task: Path) -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(CorruptRegistryError, match=r"nothing was written.*flatter before"):
        encode(deep, task)
    with pytest.raises(CorruptRegistryError, match=r"nothing was written.*Write less"):
        encode({"a": "a" * MAX_BYTES}, task)
    before = task.read_bytes()
    for text, remedy in (("{", "Write a JSON object"), ('{"a": "\ud800"}', "ensure_ascii")):
        with pytest.raises(CorruptRegistryError, match=f"nothing was written.*{remedy}"):  # noqa: SIM117
            with LockedRegistryFile(task) as (_, file):
                file.seek(0)
                file.write(text)
                file.truncate()
    assert task.read_bytes() == before


def test_too_many_open_files_is_said_with_the_limit(task: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each) for each in os.listdir("/proc/self/fd"))
    opened: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
    try:
        with pytest.raises(OSError, match="open files"):
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(InaccessibleRegistryError, match="ulimit -n") as caught:
            read_registry(task)
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
    assert str(task) in str(caught.value)


def _raised() -> Iterator[tuple[str, str]]:
    """Every call of an exception of this library, and where it is."""
    ours = {name for name in vars(errors) if name.endswith("Error")}
    for module in sorted(HOME.glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ours:
                yield called.id, f"{module.name}:{called.lineno}"


def test_nothing_is_raised_whose_remedy_is_not_tried_here() -> None:
    tried = {type(each).__name__ for each in ERRORS}
    # Said where it is raised, and tried by the tests of undoing.
    plain = {"RegistryError"}
    assert {kind for kind, _ in _raised()} <= tried | plain


# Every module of the package, wherever it lies.
MODULES = sorted(path.relative_to(HOME) for path in HOME.rglob("*.py"))


def test_no_message_advises_to_destroy_a_registry_or_a_journal() -> None:
    for module in MODULES:
        texts = [
            f"{module}:{node.lineno}: {node.value}"
            for node in ast.walk(ast.parse((HOME / module).read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert texts, module
        said = [each for each in texts if "\n" not in each]
        assert [
            each for each in said if DESTROYS.search(each.replace("Do not delete this file", ""))
        ] == []


def test_where_no_workspace_is_the_advice_is_part_of_the_error() -> None:
    error = WorkspaceNotFoundError((Path("/somewhere"),), "Name one: muster WORKSPACE")
    assert_says_what_to_do(str(error))
