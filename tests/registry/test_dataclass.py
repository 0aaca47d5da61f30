"""The package's dataclasses are as those of `dataclasses`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from registry import dataclass as ours

T = TypeVar("T")


@ours.dataclass(frozen=True, slots=True)
class Frozen(Generic[T]):
    """A frozen record.

    Attributes:
        name: Its name.
    """

    UNIT: ClassVar[str] = "s"

    name: str
    size: T
    tags: dict[str, int] = ours.field(default_factory=dict, compare=False)
    secret: str = ours.field(default="none", compare=False, repr=False)
    limit: float = ours.field(default=2.5, metadata={"unit": "s"})

    @property
    def double(self) -> str:
        return self.name * 2


@ours.dataclass(slots=True)
class Mutable:
    total: int = 0
    parts: list[int] = ours.field(default_factory=list)

    def __post_init__(self) -> None:
        self.total += len(self.parts)


@ours.dataclass(frozen=True)
class Cached:
    name: str
    limit: int = 3

    @cached_property
    def upper(self) -> str:
        return self.name.upper()


@ours.dataclass
class Open:
    name: str = "n"


@ours.dataclass(frozen=True, slots=True)
class One:
    value: float


@ours.dataclass(frozen=True, slots=True)
class Empty:
    pass


@ours.dataclass(frozen=True, slots=True, eq=False)
class Identical:
    value: int = 1


@ours.dataclass(frozen=True, slots=True)
class OwnMethods:
    value: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnMethods)

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


@dataclasses.dataclass(frozen=True, slots=True)
class Standard(Generic[T]):
    UNIT: ClassVar[str] = "s"

    name: str
    size: T
    tags: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)
    secret: str = dataclasses.field(default="none", compare=False, repr=False)
    limit: float = dataclasses.field(default=2.5, metadata={"unit": "s"})


BOTH = pytest.mark.parametrize("kind", [Frozen, Standard])
ALL = [Frozen("a", 1), Mutable(1, [2]), Cached("a"), Open(), One(1.0), Empty(), Identical()]


@BOTH
def test_fields_are_given_by_position_or_by_name(kind: Any) -> None:
    for made in (kind("a", 1), kind(name="a", size=1), kind("a", size=1, secret="none")):
        assert (made.name, made.size, made.tags, made.limit) == ("a", 1, {}, 2.5)
        assert kind.UNIT == "s"


@BOTH
@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind(),
        lambda kind: kind("a"),
        lambda kind: kind("a", 1, {}, "", 1.0, "more"),
        lambda kind: kind("a", 1, name="b"),
        lambda kind: kind("a", 1, unknown=1),
    ],
)
def test_wrong_arguments_are_refused(kind: Any, make: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"__init__\(\) (missing|takes|got)"):
        make(kind)


def test_messages_about_arguments_name_the_class() -> None:
    with pytest.raises(TypeError) as caught:
        Frozen()  # type: ignore[call-arg]
    with pytest.raises(TypeError) as standard:
        Standard()  # type: ignore[call-arg]
    assert str(caught.value) == str(standard.value).replace("Standard", "Frozen")


def test_each_instance_has_its_own_default_from_a_factory() -> None:
    assert Frozen("a", 1).tags is not Frozen("a", 1).tags
    given: dict[str, int] = {}
    assert Frozen("a", 1, given).tags is given


@BOTH
def test_equality_and_hash_are_those_of_the_compared_fields(kind: Any) -> None:
    assert kind("a", 1, {"x": 1}, "s") == kind("a", 1)
    assert hash(kind("a", 1, {"x": 1}, "s")) == hash(kind("a", 1)) == hash(("a", 1, 2.5))
    assert kind("a", 1) != kind("a", 2)
    assert kind("a", 1) != ("a", 1, {}, "none", 2.5)
    assert kind("a", 1) != Open("a")
    with pytest.raises(TypeError):
        kind("a", 1) < kind("a", 2)  # noqa: B015


def test_one_field_is_compared_as_in_a_tuple() -> None:
    unequal = float("nan")
    assert One(unequal) == One(unequal)
    assert hash(One(1.0)) == hash((1.0,))
    assert Empty() == Empty()
    assert hash(Empty()) == hash(())


def test_changeable_records_have_no_hash() -> None:
    assert Open("a") == Open("a")
    assert Mutable(1) != Mutable(2)
    for made in (Open("a"), Mutable()):
        with pytest.raises(TypeError, match="unhashable"):
            hash(made)


def test_without_comparison_only_the_same_instance_is_equal() -> None:
    one = Identical()
    assert one == one
    assert one != Identical()
    assert hash(one) == object.__hash__(one)


def test_methods_of_the_class_itself_stay() -> None:
    assert OwnMethods(1) == OwnMethods(2)
    assert hash(OwnMethods(1)) == 7
    assert repr(OwnMethods(1)) == "own"


def test_the_text_for_programmers_is_the_same() -> None:
    assert repr(Frozen("a", None)) == "Frozen(name='a', size=None, tags={}, limit=2.5)"
    assert repr(Frozen("a", 1)) == repr(Standard("a", 1)).replace("Standard", "Frozen")
    assert repr(Empty()) == "Empty()"
    looped = Mutable()
    looped.parts.append(looped)  # type: ignore[arg-type]
    assert repr(looped) == "Mutable(total=0, parts=[...])"


@pytest.mark.parametrize("made", [Frozen("a", 1), Cached("a"), Standard("a", 1)])
def test_frozen_records_cannot_be_changed(made: Any) -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
        made.name = "b"
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
        del made.name
    with pytest.raises((FrozenInstanceError, TypeError)):
        made.other = 1
    assert made.name == "a"


def test_slots_leave_no_room_for_other_attributes() -> None:
    assert not hasattr(Frozen("a", 1), "__dict__")
    changeable = Mutable()
    changeable.total = 5
    assert changeable.total == 5
    with pytest.raises(AttributeError):
        changeable.other = 1  # type: ignore[attr-defined]


def test_without_slots_values_can_be_cached() -> None:
    made = Cached("a")
    assert made.upper is made.upper
    assert Cached.limit == 3
    assert Open.name == "n"


def test_post_init_is_called() -> None:
    assert Mutable(1, [2, 3]).total == 3


@pytest.mark.parametrize("made", ALL, ids=lambda made: type(made).__name__)
def test_records_are_pickled_and_copied(made: Any) -> None:
    for other in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert type(other) is type(made)
        assert dataclasses.astuple(other) == dataclasses.astuple(made)


def test_replace_changes_the_named_fields_alone() -> None:
    before = Frozen("a", 1, {"x": 1}, "s")
    for replace in (ours.replace, dataclasses.replace):
        after: Frozen[int] = replace(before, name="b")
        assert (after.name, after.secret, after.tags) == ("b", "s", before.tags)
        assert before.name == "a"
        with pytest.raises(TypeError):
            replace(before, unknown=1)
    assert ours.replace(Standard("a", 1), name="b") == Standard("b", 1)


def test_functions_of_dataclasses_accept_the_records() -> None:
    made = Frozen("a", Frozen("b", 2))
    standard = Standard("a", Standard("b", 2))
    assert dataclasses.is_dataclass(Frozen)
    assert dataclasses.is_dataclass(made)
    assert dataclasses.asdict(made) == dataclasses.asdict(standard)
    assert dataclasses.astuple(made) == dataclasses.astuple(standard)
    for kind in (Frozen, made):
        for field, other in zip(
            dataclasses.fields(kind), dataclasses.fields(Standard), strict=True
        ):
            assert repr(field).replace("Frozen", "Standard") == repr(other)


def test_fields_tell_name_default_and_metadata() -> None:
    described = ours.fields(Frozen)
    assert [each.name for each in described] == ["name", "size", "tags", "secret", "limit"]
    assert described[-1].default == 2.5
    assert described[-1].metadata == {"unit": "s"}


def test_tools_see_signature_names_and_documentation() -> None:
    @ours.dataclass(frozen=True, slots=True)
    class Fresh:
        """A text."""

        name: str
        limit: int = 3

    assert str(inspect.signature(Fresh)) == "(name: 'str', limit: 'int' = 3) -> None"
    assert Fresh.__doc__ == "A text."
    assert Fresh.__init__.__qualname__ == f"{Fresh.__qualname__}.__init__"
    assert Fresh.__module__ == __name__
    match Fresh("a"):
        case Fresh(name, limit):
            assert (name, limit) == ("a", 3)


def test_a_shared_default_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):

        @ours.dataclass(slots=True)
        class Sharing:
            parts: list[int] = []  # noqa: RUF012


def test_a_required_field_after_an_optional_one_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Mixed\.second must come before"):

        @ours.dataclass(slots=True)
        class Mixed:
            first: int = 1
            second: int  # type: ignore[misc]


def test_a_dataclass_with_a_dataclass_as_base_is_refused() -> None:
    with pytest.raises(TypeError, match="inherits from a dataclass"):

        @ours.dataclass(frozen=True, slots=True)
        class Derived(One):
            more: int


def test_a_class_without_fields_of_its_own_may_inherit_them() -> None:
    class Derived(One):
        __slots__ = ()

    assert Derived(1.0).value == 1.0
    assert Derived(1.0) != One(1.0)


def test_a_record_is_made_without_the_module_dataclasses() -> None:
    code = (
        "import sys\nfrom registry.dataclass import dataclass, replace\n"
        "@dataclass(frozen=True, slots=True)\nclass Made:\n    name: str\n"
        "made = replace(Made('a'), name='b')\nassert made == Made('b')\nhash(made), repr(made)\n"
        "print('dataclasses' in sys.modules, 'inspect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
