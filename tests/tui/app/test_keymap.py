"""The keys: what a user may set, and what is a conflict."""

from __future__ import annotations

import re

import pytest
from textual.binding import Binding

from tui.app.bindings import CHANGING, declared, keys_of, normal_keys
from tui.app.keymap import PLACES, all_bindings, documented, effective_keys, key_problems
from tui.app.screens.roll import RollScreen
from tui.app.widgets.roll_list import RollView


def test_every_binding_has_an_id_of_its_own_and_says_what_it_does() -> None:
    ids = [binding.id for binding in all_bindings()]
    assert None not in ids and len(set(ids)) == len(ids)
    for id_, keys, says in documented():
        assert id_ and keys and says
    for place in PLACES:
        for node in place.nodes:
            for each in declared(node):
                assert isinstance(each, Binding) and each.id


def test_the_bindings_that_change_something_exist() -> None:
    assert {binding.id for binding in all_bindings()} >= CHANGING


def test_what_is_bound_as_it_is_has_no_conflict() -> None:
    own = {id_: keys for id_, keys, _ in documented()}
    assert key_problems(own) == ()
    assert key_problems({}) == ()


@pytest.mark.parametrize(
    "keys",
    [
        {"kill": "x"},
        {"kill": "c", "complete": "x"},
        {"kill": "k", "kill.tree": "K"},
        {"complete": "j"},
        {"kill": "ctrl+k,f5"},
        {"roll.down": "down,n", "filter": "?", "help": "H"},
        {"confirm.accept": "ctrl+y"},
        {"confirm.accept": "g,enter"},
        {"palette": "ctrl+o"},
        {"kill": "ä"},
        {"doctor.fix": "x"},
    ],
)
def test_other_keys_may_be_set(keys: dict[str, str]) -> None:
    assert key_problems(keys) == ()


def test_a_key_that_is_set_is_no_default_key_of_another_action() -> None:
    keys = effective_keys({"kill": "k", "kill.tree": "K"})
    assert keys == {"kill": "k", "kill.tree": "K", "roll.up": "up", "panel.up": "up"}


def test_the_only_default_key_of_another_action_is_not_taken() -> None:
    assert effective_keys({"kill": "c"}) == {"kill": "c"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"kil": "x"}, "keys.kil: unknown id; did you mean kill?"),
        ({"kill": "c"}, "keys.kill: 'c' is also the key of complete in the roll; give one"),
        ({"kill": "space"}, "keys.kill: 'space' is also the key of roll.mark in the roll"),
        (
            {"roll.mark": "?"},
            "keys.roll.mark: 'question_mark' is also the key of help in the roll",
        ),
        (
            {"doctor.look": "f"},
            "keys.doctor.look: 'f' is also the key of doctor.fix in the doctor",
        ),
        (
            {"doctor.look": "ctrl+p"},
            "keys.doctor.look: 'ctrl\\+p' is also the key of palette in the",
        ),
        ({"kill": "ctrl+i"}, "keys.kill: 'tab' is also the key of focus.next in the roll"),
        ({"kill": "hyperspace"}, "keys.kill: 'hyperspace' is not a key"),
        ({"kill": "Escpe"}, "keys.kill: 'Escpe' is not a key; did you mean escape?"),
        (
            {"kill": "control+k"},
            "keys.kill: 'control\\+k' is not a key; only these can stand before \\+: alt",
        ),
        ({"kill": "shift+k"}, 'keys.kill: terminals send .* write "K"'),
        (
            {"palette": ":"},
            "keys.palette: 'colon' types a character into the field of",
        ),
    ],
)
def test_a_problem_with_a_key_is_described(keys: dict[str, str], said: str) -> None:
    problems = key_problems(keys)
    assert problems and re.match(said, problems[0]), problems


def test_keys_are_called_as_textual_calls_them() -> None:
    assert normal_keys("?,/,k,K,f1") == ["question_mark", "slash", "k", "K", "f1"]
    kill = next(each for each in declared(RollScreen) if each.id == "kill")
    assert keys_of(kill, {}) == ["x"]
    assert keys_of(kill, {"kill": "x,!"}) == ["x", "exclamation_mark"]
    assert declared(RollView)[0].id == "roll.up"
