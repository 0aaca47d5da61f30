"""The dataclasses of `registry` and `tui`: as those of `dataclasses`, but quick to define.

`dataclasses` imports `inspect`, and compiles six functions for each class. For a hundred
classes this takes longer than the rest of a short command. Here one function is compiled for
a class, its `__init__`, before the first instance is created.

The functions of `dataclasses` accept these classes, and type checkers see its decorator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

_MISSING: Any = object()


class _Field:
    """One field of a class; see `dataclasses.Field`."""

    __slots__ = ("compare", "default", "default_factory", "metadata", "name", "repr")

    def __init__(
        self,
        *,
        default: Any = _MISSING,
        default_factory: Any = _MISSING,
        compare: bool = True,
        repr: bool = True,  # noqa: A002
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.compare = compare
        self.repr = repr
        self.metadata = metadata or {}

    @property
    def is_required(self) -> bool:
        """Whether it has no default value."""
        return self.default is _MISSING and self.default_factory is _MISSING


class _Late:
    """An attribute of a class that is made when it is first used.

    Args:
        make: Makes the attribute, and sets it in the place of this object.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __get__(self, instance: object, owner: type) -> Any:
        made = self._make()
        return made.__get__(instance, owner) if callable(made) else made


def _dataclass(
    cls: type | None = None, *, frozen: bool = False, slots: bool = False, eq: bool = True
) -> Any:
    if cls is None:
        return lambda decorated: _dataclass(decorated, frozen=frozen, slots=slots, eq=eq)
    if hasattr(cls, "__own_fields__"):
        raise TypeError(f"{cls.__qualname__} inherits from a dataclass; repeat its fields instead")
    fields = _fields_in(cls)
    methods: dict[str, Any] = {"__repr__": _repr(fields), "__match_args__": tuple(fields)}
    if eq:
        methods |= _comparison(fields, frozen=frozen)
    methods = {name: method for name, method in methods.items() if vars(cls).get(name) is None}
    methods |= {"__own_fields__": tuple(fields.values()), "__replace__": _replace}
    if frozen:
        methods |= _protection(fields, slots=slots)
    made = _with_slots(cls, fields, methods) if slots else _with(cls, fields, methods)
    made.__init__ = _Late(lambda: _compile_init(made, fields, slots=slots))
    made.__dataclass_fields__ = _Late(lambda: _standard_fields(made, fields))
    return made


def _fields_in(cls: type) -> dict[str, _Field]:
    """Returns the fields that a class itself declares, by their names."""
    fields: dict[str, _Field] = {}
    for name, annotation in cls.__annotations__.items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = vars(cls).get(name, _MISSING)
        field = default if isinstance(default, _Field) else _Field(default=default)
        if type(field.default).__hash__ is None:
            raise ValueError(f"{cls.__qualname__}.{name}: instances would share the default value")
        if field.is_required and fields and not fields[next(reversed(fields))].is_required:
            raise TypeError(f"{cls.__qualname__}.{name} must come before the optional fields")
        field.name = name
        fields[name] = field
    return fields


def _repr(fields: Mapping[str, _Field]) -> Callable[[Any], str]:
    shown = [name for name, field in fields.items() if field.repr]

    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    return __repr__


def _comparison(fields: Mapping[str, _Field], *, frozen: bool) -> dict[str, Any]:
    values = _getter([name for name, field in fields.items() if field.compare])

    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        if other.__class__ is self.__class__:
            return values(self) == values(other)
        return NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Returns a function that returns the named attributes of an object as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _protection(fields: Mapping[str, _Field], *, slots: bool) -> dict[str, Any]:
    """Returns the methods that refuse to change an instance, and those that unpickle it."""

    def __setattr__(self: Any, name: str, value: object) -> NoReturn:  # noqa: N807
        _refuse(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> NoReturn:  # noqa: N807
        _refuse(f"cannot delete field {name!r}")

    def __getstate__(self: Any) -> list[Any]:  # noqa: N807
        return [getattr(self, name) for name in fields]

    def __setstate__(self: Any, state: list[Any]) -> None:  # noqa: N807
        for name, value in zip(fields, state, strict=True):
            object.__setattr__(self, name, value)

    methods: dict[str, Any] = {"__setattr__": __setattr__, "__delattr__": __delattr__}
    # The attributes of other objects are unpickled into their `__dict__`.
    return methods | (
        {"__getstate__": __getstate__, "__setstate__": __setstate__} if slots else {}
    )


def _refuse(message: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(message)


def _with_slots(cls: type, fields: Mapping[str, _Field], methods: Mapping[str, Any]) -> Any:
    """Returns a class as another one, but with slots: an existing class cannot get them."""
    left_out = {"__dict__", "__weakref__", *fields}
    namespace = {name: value for name, value in vars(cls).items() if name not in left_out}
    namespace |= {**methods, "__slots__": tuple(fields)}
    made = type(cls)(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _with(cls: Any, fields: Mapping[str, _Field], methods: Mapping[str, Any]) -> Any:
    """Returns the class itself, with methods and without the descriptions of its fields."""
    for name, field in fields.items():
        if field.default is not _MISSING:
            setattr(cls, name, field.default)
        elif not field.is_required:
            delattr(cls, name)
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


def _compile_init(cls: Any, fields: Mapping[str, _Field], *, slots: bool) -> Callable[..., None]:
    """Makes the `__init__` of a class, and sets it."""
    scope: dict[str, Any] = {"_MISSING": _MISSING, "_set": object.__setattr__}
    parameters, steps = ["self"], []
    for name, field in fields.items():
        value = name
        if field.default_factory is not _MISSING:
            scope[f"_new_{name}"] = field.default_factory
            parameters.append(f"{name}=_MISSING")
            value = f"_new_{name}() if {name} is _MISSING else {name}"
        elif field.default is not _MISSING:
            scope[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        if slots:
            # Quicker than `object.__setattr__`, which searches for the slot.
            scope[f"_set_{name}"] = vars(cls)[name].__set__
            steps.append(f"_set_{name}(self, {value})")
        else:
            steps.append(f"_set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        steps.append("self.__post_init__()")
    # Each step returns None, so all of them are taken.
    source = f"lambda {', '.join(parameters)}: {' or '.join(steps) or None}"
    init: Callable[..., None] = eval(source, scope)  # noqa: S307  The names of fields are ours.
    init.__name__ = "__init__"
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    init.__annotations__ = {name: cls.__annotations__[name] for name in fields} | {"return": None}
    cls.__init__ = init
    return init


def _standard_fields(cls: Any, fields: Mapping[str, _Field]) -> dict[str, Any]:
    """Makes the fields as `dataclasses` describes them, and sets them."""
    import dataclasses

    described: list[Any] = []
    for name, field in fields.items():
        options: dict[str, Any] = {
            "compare": field.compare,
            "repr": field.repr,
            "metadata": field.metadata,
        }
        if field.default is not _MISSING:
            options["default"] = field.default
        if field.default_factory is not _MISSING:
            options["default_factory"] = field.default_factory
        standard = dataclasses.field(**options)
        described.append((name, cls.__annotations__[name], standard))
    made: Any = dataclasses.make_dataclass(cls.__name__, described)
    cls.__dataclass_fields__ = made.__dataclass_fields__
    return cls.__dataclass_fields__  # type: ignore[no-any-return]


def _fields(cls: Any) -> tuple[_Field, ...]:
    return cls.__own_fields__  # type: ignore[no-any-return]


def _replace(record: Any, /, **changes: Any) -> Any:
    for name in type(record).__match_args__:
        if name not in changes:
            changes[name] = getattr(record, name)
    return type(record)(**changes)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    dataclass, field, fields, replace = _dataclass, _Field, _fields, _replace
