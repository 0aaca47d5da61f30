"""Any JSON object, however it is spelled, is written back so that the peers read the same."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import CorruptRegistryError, LockedRegistryFile
from registry.storage.codec import MAX_VALUES, decode, encode
from registry.storage.locked_file import editing
from registry.text import quoted_name
from tests.support.json_values import as_read, exactly, objects, registries, texts, values
from tests.support.selection import in_torture

PATH = Path("/somewhere/AGENT_REGISTRY.json")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codec") / "AGENT_REGISTRY.json"


def freely(value: Any, rng: random.Random) -> str:
    """One of the countless ways to spell a value: white space, escapes, numbers."""

    def space() -> str:
        return "".join(rng.choices(" \t\r\n", k=rng.choice((0, 0, 1, 3))))

    match value:
        case dict():
            fields = (
                f"{space()}{freely(key, rng)}{space()}:{freely(each, rng)}"
                for key, each in value.items()
            )
            spelled = "{" + (",".join(fields) or space()) + "}"
        case list():
            spelled = "[" + (",".join(freely(each, rng) for each in value) or space()) + "]"
        case str():
            spelled = '"' + "".join(_character(each, rng) for each in value) + '"'
        case float() if value == value and abs(value) < 1e300 and rng.random() < 0.5:
            spelled = f"{value:.17e}".replace("e", rng.choice("eE"))
        case _:
            spelled = json.dumps(value)
    return f"{space()}{spelled}{space()}"


def _character(character: str, rng: random.Random) -> str:
    code = ord(character)
    if 0xD800 <= code < 0xE000 or (code < 0x10000 and rng.random() < 0.3):
        return rng.choice((f"\\u{code:04x}", f"\\u{code:04X}"))
    if character == "/":
        return rng.choice(("/", "\\/"))
    if character in '"\\' or code < 0x20:
        return json.dumps(character)[1:-1]
    return character


@given(registry=st.one_of(objects, registries), seed=st.randoms(use_true_random=False))
def test_however_it_is_spelled_it_is_read_as_the_standard_library_reads_it(
    registry: dict[str, Any], seed: random.Random
) -> None:
    text = freely(registry, seed)
    assert exactly(decode(text.encode(), PATH)) == exactly(json.loads(text))


@given(registry=st.one_of(objects, registries), seed=st.randoms(use_true_random=False))
def test_what_is_written_reads_back_the_same_and_in_the_same_order(
    registry: dict[str, Any], seed: random.Random
) -> None:
    text = freely(registry, seed)
    before = json.loads(text)
    written = encode(decode(text.encode(), PATH), PATH)
    assert exactly(json.loads(written)) == exactly(before)
    assert exactly(decode(written, PATH)) == exactly(before)
    # To the byte as the peers would have written it, so that nobody's diff grows.
    assert written == json.dumps(before, indent=2).encode("ascii")


@given(registry=objects, seed=st.randoms(use_true_random=False), name=texts, value=values)
def test_a_field_that_is_set_leaves_all_others_as_they_were_in_the_file(
    path: Path, registry: dict[str, Any], seed: random.Random, name: str, value: Any
) -> None:
    text = freely(registry, seed)
    path.write_bytes(text.encode())
    expected = json.loads(text)
    expected[as_read(name)] = as_read(value)
    with editing(path, 0) as edit:
        edit.registry[as_read(name)] = as_read(value)
        edit.changed = True
    assert exactly(json.loads(path.read_bytes())) == exactly(expected)


@given(depth=st.integers(1, 300), lists=st.booleans(), inside=values)
def test_deep_nesting_is_kept(depth: int, lists: bool, inside: Any) -> None:
    value = as_read(inside)
    for _ in range(depth):
        value = [value] if lists else {"deeper": value}
    registry = {"first": 1, "value": value, "last": 2}
    assert exactly(json.loads(encode(registry, PATH))) == exactly(registry)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 400 + ".5"])
def test_a_number_that_would_be_written_back_as_infinity_is_refused(
    tmp_path: Path, number: str
) -> None:
    with pytest.raises(CorruptRegistryError, match="too large to be written back") as caught:
        decode(f'{{"x": {number}}}'.encode(), tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)
    assert decode(f'{{"x": {number}}}'.encode(), tmp_path, lenient=True)


@pytest.mark.parametrize("value", ["[]", '{"a":0}', *in_torture("{}", "0")])
def test_a_text_of_very_many_values_is_refused_before_it_is_parsed(value: str) -> None:
    few = ",".join([value] * (MAX_VALUES // 4))
    assert decode(f'{{"x":[{few}]}}'.encode(), PATH)
    many = f'{{"x":[{few},{few},{few},{few},{few}]}}'.encode()
    with pytest.raises(CorruptRegistryError, match="more than 2,000,000 values"):
        decode(many, PATH)


def test_what_looks_like_values_inside_strings_does_not_count() -> None:
    text = '[{,\\"' * MAX_VALUES
    data = json.dumps({"x": text, text: 1}).encode()
    assert decode(data, PATH) == {"x": text, text: 1}


def test_what_would_be_refused_when_it_is_read_is_not_written() -> None:
    with pytest.raises(CorruptRegistryError, match="would have more than 2,000,000 values"):
        encode({"x": [0] * (MAX_VALUES + 1)}, PATH)


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_are_kept_up_to_the_digits_python_converts(
    sign: int,
) -> None:
    most = sys.get_int_max_str_digits()
    kept = b'{"n": ' + b"-" * (sign < 0) + b"9" * most + b"}"
    assert encode(decode(kept, PATH), PATH) == kept.replace(b'{"', b'{\n  "').replace(b"}", b"\n}")
    with pytest.raises(CorruptRegistryError, match="digits"):
        decode(kept.replace(b"}", b"9}"), PATH)


_AROUND = st.lists(st.sampled_from(["list", "object"]), max_size=4)
_TWICE = st.tuples(texts, values, values, _AROUND)


def twice(key: str, first: Any, second: Any, around: list[str], rng: random.Random) -> str:
    """A text in which an object somewhere has a key twice, perhaps spelled in two ways."""
    one, other = freely(key, rng), freely(key, rng)
    text = f'{{{one}:{freely(first, rng)}, "between": 1, {other}:{freely(second, rng)}}}'
    for each in around:
        text = f"[0, {text}]" if each == "list" else f'{{"before": [], "around": {text}}}'
    return f'{{"registry": {text}}}'


@given(parts=_TWICE, seed=st.randoms(use_true_random=False))
def test_a_key_that_is_there_twice_is_refused_and_named_wherever_it_is(
    path: Path, parts: tuple[str, Any, Any, list[str]], seed: random.Random
) -> None:
    text = twice(*parts, seed).encode()
    path.write_bytes(text)
    with pytest.raises(CorruptRegistryError) as caught, LockedRegistryFile(path, timeout=0):
        pass
    named = as_read(parts[0])
    assert f"has the key {quoted_name(named, 80)} twice in one object" in str(caught.value)
    assert path.read_bytes() == text


@given(parts=_TWICE, seed=st.randoms(use_true_random=False))
def test_where_duplicates_are_let_pass_the_last_one_counts_as_for_the_peers(
    parts: tuple[str, Any, Any, list[str]], seed: random.Random
) -> None:
    text = twice(*parts, seed)
    assert exactly(decode(text.encode(), PATH, lenient=True)) == exactly(json.loads(text))


@given(registry=objects, seed=st.randoms(use_true_random=False), data=st.data())
def test_text_that_was_cut_short_is_refused_and_the_place_is_named(
    path: Path, registry: dict[str, Any], seed: random.Random, data: st.DataObject
) -> None:
    text = freely(registry, seed).strip()
    path.write_text("{}")
    refused = pytest.raises(json.JSONDecodeError)
    with refused as caught, LockedRegistryFile(path, timeout=0) as (_, file):
        file.seek(0)
        file.write(text[: data.draw(st.integers(0, len(text) - 1))])
        file.truncate()
    said = str(caught.value)
    assert said.startswith(f"{path}: the new text is not valid: ")
    assert "nothing was written" in said
    assert re.search(r"line \d+ column \d+|is empty", said)
    assert path.read_text() == "{}"
