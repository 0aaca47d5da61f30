"""Tests of the values in a settings file, and of the messages about wrong values."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.theme import BUILTIN_THEMES

from tui.app.keymap import documented
from tui.app.theme import OURS
from tui.config.settings import KINDS, PLACEHOLDERS, THEMES, Settings, filled, settings_from
from tui.config.template import default_text
from tui.model.policy import POLICY_SETTINGS, Policy, PolicySetting


def _problem(text: str) -> str:
    settings, problems = settings_from(tomllib.loads(text))
    assert settings == Settings()
    (problem,) = problems
    return problem


def test_an_empty_file_is_the_default() -> None:
    assert settings_from({}) == (Settings(), ())


def test_the_default_file_says_the_defaults_commented_or_not() -> None:
    text = default_text(documented())
    settings, problems = settings_from(tomllib.loads(text))
    assert (settings, problems) == (Settings(), ())
    settings, problems = settings_from(tomllib.loads(re.sub("(?m)^#(?=\\S)", "", text)))
    assert not problems
    assert replace(settings, keys={}) == Settings()
    assert settings.keys == {id_: keys for id_, keys, _ in documented()}


def test_the_default_file_explains_every_setting() -> None:
    lines = default_text(documented()).splitlines()
    names = {line.partition(" = ")[0] for line in lines if re.match(r"#\w+ = ", line)}
    ours = {"#theme", "#ascii", "#read_only", "#without_agents", "#pause", "#hook_timeout"}
    assert names == ours | {f"#{each.name}" for each in fields(Policy)} | {
        f"#{prefix}{kind}" for kind in KINDS for prefix in ("", "on_")
    }
    for number, line in enumerate(lines):
        if line in ("#theme", "#ascii"):
            assert lines[number - 1].startswith("# ")
    assert all(len(line) <= 99 for line in lines if not line.startswith('#"'))


def test_all_of_it_can_be_set() -> None:
    settings, problems = settings_from(
        tomllib.loads("""
            theme = "nord"
            ascii = true
            read_only = true
            [policy]
            stall_after = 60
            [keys]
            kill = "x"
            "kill.tree" = ["X", ","]
            roll.mark = "m"
            [notify]
            zombie = ["bell", "osc9", "bell"]
            stalled = []
            on_zombie = ["notify-send", "--", "{id} died"]
            on_failed = "logger -t muster '{said}'"
            on_blocked = ["page"]
            pause = 30
        """)
    )
    assert not problems
    assert (settings.theme, settings.ascii, settings.read_only) == ("nord", True, True)
    assert settings.policy == Policy(stall_timeout=60.0)
    assert settings.keys == {"kill": "x", "kill.tree": "X,comma", "roll.mark": "m"}
    assert settings.notify.ways == {
        "zombie": ("bell", "osc9"),
        "stalled": (),
        "failed": ("toast",),
        "blocked": ("toast",),
    }
    assert settings.notify.hooks["blocked"] == ("page",)
    assert settings.notify.hooks["zombie"] == ("notify-send", "--", "{id} died")
    assert settings.notify.hooks["failed"] == ("logger", "-t", "muster", "{said}")
    assert settings.notify.pause == 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('thme = "nord"', "thme: unknown setting; did you mean theme?"),
        ("proof = 2", "proof: unknown setting; did you mean policy.death_confirmation?"),
        ("[policy]\nstall_aftr = 2", "policy.stall_aftr: .*; did you mean policy.stall_timeout?"),
        ("[frobnicate]\nx = 2", "frobnicate: .*; `muster config --print` lists all"),
        ('theme = "beige"', "theme: must be one of muster, .*, not 'beige'"),
        ("theme = 3", "theme: must be one of .*, not 3"),
        ("read_only = 1", "read_only: must be true or false, not 1"),
        ('ascii = "yes"', "ascii: must be true, false or \"auto\", not 'yes'"),
        ("policy = 3", r"policy: must be a table, \[policy\], not 3"),
        ("keys = 3", r"keys: must be a table, \[keys\], not 3"),
        ("[policy]\nproof = 0.1", "policy.proof: must be .* seconds, 0.75 or more, not 0.1"),
        ("[policy]\nproof = true", "policy.proof: must be a number of seconds"),
        ("[policy]\nproof = nan", "policy.proof: must be a number of seconds"),
        ("[policy]\nproof = inf", "policy.proof: must be a number of seconds"),
        (f"[policy]\nproof = 1{'0' * 400}", "policy.proof: must be a number of seconds"),
        ("[notify]\npause = 0", "notify.pause: must be .* seconds, from 1 to 3600, not 0"),
        ('[notify]\nzombie = "bell"', 'notify.zombie: must be a list with any of "toast"'),
        ('[notify]\nzombie = ["horn"]', 'notify.zombie: must be a list with any of "toast"'),
        ("[notify]\non_zombie = 3", "notify.on_zombie: must be a list of a program"),
        ("[notify]\non_zombie = \"a 'b\"", "notify.on_zombie: cannot be split into words: .*"),
        ('[notify]\non_zombie = ["{id}"]', "notify.on_zombie: must start with the name"),
        ('[notify]\non_zombie = ["a", "{pid}"]', r"notify.on_zombie: {pid} is unknown; use"),
        ('[notify]\non_zombie = ["a\\u0000"]', "notify.on_zombie: must not contain a NUL"),
        ("[keys]\nkill = 3", "keys.kill: must be a key, or a list of keys, not 3"),
        ("[keys]\nkill = []", "keys.kill: must be a key, or a list of keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_to_do(text: str, said: str) -> None:
    assert re.match(said, _problem(text))


@pytest.mark.parametrize("setting", POLICY_SETTINGS)
def test_a_time_is_set_by_its_name_and_by_its_former_one(setting: PolicySetting) -> None:
    for name in filter(None, (setting.name, setting.former)):
        settings, problems = settings_from({"policy": {name: 7}})
        assert problems == ()
        assert settings.policy == replace(Policy(), **{setting.name: 7.0})


def test_the_times_that_were_renamed_keep_their_former_names() -> None:
    # Files and scripts of users have these: none of them may go.
    assert {each.former: each.name for each in POLICY_SETTINGS if each.former} == {
        "proof": "death_confirmation",
        "stall_after": "stall_timeout",
        "at_once": "mass_death_window",
        "made_after": "session_late_limit",
        "made_before": "session_early_limit",
    }


@pytest.mark.parametrize("former", [each for each in POLICY_SETTINGS if each.former])
def test_a_time_with_both_of_its_names_is_an_error_that_names_both(former: PolicySetting) -> None:
    for value in (7, "soon"):
        settings, problems = settings_from({"policy": {former.name: 7, former.former: value}})
        assert settings.policy == Policy()
        said = f"is the former name of {former.key}; both are set: remove {former.former_key}"
        assert problems[-1] == f"{former.former_key}: {said}"


def test_the_file_with_the_defaults_explains_every_time() -> None:
    lines = default_text(()).splitlines()
    said = " ".join(line.removeprefix("# ") for line in lines)
    for each in POLICY_SETTINGS:
        assert each.help in said
        assert f"#{each.name} = {each.default:g}" in lines


def test_every_problem_is_named_and_what_is_right_counts() -> None:
    settings, problems = settings_from(tomllib.loads('theme = "nord"\nascii = 3\nx = 1'))
    assert [problem.partition(":")[0] for problem in problems] == ["ascii", "x"]
    assert settings == Settings(theme="nord")


toml = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(
    [
        "theme",
        "ascii",
        "read_only",
        "policy",
        "keys",
        "notify",
        "proof",
        "death_confirmation",
        "zombie",
        "on_zombie",
    ]
)


@given(st.dictionaries(names, st.one_of(toml, st.dictionaries(names, toml, max_size=4))))
def test_any_table_gives_settings_and_each_problem_begins_with_its_key(table: Any) -> None:
    settings, problems = settings_from(table)
    assert isinstance(settings, Settings)
    assert settings.policy.death_confirmation >= Policy().death_confirmation
    for problem in problems:
        assert problem.partition(":")[0].partition(".")[0] in table


@given(
    st.lists(st.text(max_size=12), min_size=1, max_size=4),
    st.fixed_dictionaries({name: st.text(max_size=12) for name in PLACEHOLDERS}),
)
def test_values_never_make_other_arguments(words: list[str], values: dict[str, str]) -> None:
    done = filled(("program", *words), values)
    assert len(done) == len(words) + 1 and done[0] == "program"
    for word, made in zip(words, done[1:], strict=True):
        if not any(f"{{{name}}}" in word for name in PLACEHOLDERS):
            assert made == word


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_value_stands_where_its_name_was_and_is_not_looked_at_again(id_: str, said: str) -> None:
    made = filled(("p", "<{id}|{said}|{no}>"), {"id": id_, "said": said})
    assert made == ["p", f"<{id_}|{said}|{{no}}>"]


def test_every_theme_is_there() -> None:
    assert {*THEMES} <= {*BUILTIN_THEMES, *(theme.name for theme in OURS)}
    assert {theme.name for theme in OURS} <= {*THEMES}
