"""A replacement for the standard module `dataclasses` that defines classes faster.

`dataclasses` imports `inspect`, and compiles six methods for each class. For a hundred classes
this takes longer than all other work of a short command. This module compiles a method only when
the method is first used.

The functions of `dataclasses` accept the classes of this module. Type checkers treat these classes
as classes of `dataclasses`. This module has only the options that `registry` and `tui` use. A
dataclass of this module cannot inherit from another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        """Whether the field has no default value."""
        return self.default is _MISSING and self.default_factory is _MISSING


class _Late:
    """An attribute of a class that is created when the attribute is first used.

    Args:
        make: Creates the attribute, and puts it into the class in place of this object.
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
    attributes: dict[str, Any] = {
        "__own_fields__": tuple(fields.values()),
        "__match_args__": tuple(fields),
        "__replace__": _replace,
        "__init__": _Late(lambda: _make_init(made, fields.values(), slots=slots)),
        "__repr__": _Late(lambda: _make_repr(made)),
        "__dataclass_fields__": _Late(lambda: _make_standard_fields(made)),
    }
    if eq:
        attributes["__eq__"] = _Late(lambda: _make_eq(made))
        attributes["__hash__"] = _Late(lambda: _make_hash(made)) if frozen else None
    if frozen:
        attributes |= {"__setattr__": _refuse_to_assign, "__delattr__": _refuse_to_delete}
    if frozen and slots:
        attributes |= {"__getstate__": _getstate, "__setstate__": _setstate}
    # A class keeps the methods that it defines itself. If a class defines only `__eq__`, Python
    # sets `__hash__` to None.
    for name in ("__repr__", "__eq__", "__hash__"):
        if vars(cls).get(name) is not None:
            attributes.pop(name, None)
    made = (_with_slots if slots else _extended)(cls, fields, attributes)
    return made


def _fields_in(cls: type) -> dict[str, _Field]:
    """Returns the fields that a class itself declares, by their names."""
    fields: dict[str, _Field] = {}
    before: _Field | None = None
    for name, annotation in cls.__annotations__.items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = vars(cls).get(name, _MISSING)
        field = default if isinstance(default, _Field) else _Field(default=default)
        if type(field.default).__hash__ is None:
            raise ValueError(f"{cls.__qualname__}.{name}: instances would share the default value")
        if before is not None and field.is_required and not before.is_required:
            raise TypeError(f"{cls.__qualname__}.{name} must come before the optional fields")
        field.name = name
        before = fields[name] = field
    return fields


def _with_slots(cls: type, fields: Mapping[str, _Field], attributes: Mapping[str, Any]) -> Any:
    """Returns a copy of a class with slots, because an existing class cannot get slots."""
    left_out = {"__dict__", "__weakref__", *fields}
    namespace = {name: value for name, value in vars(cls).items() if name not in left_out}
    namespace |= {**attributes, "__slots__": tuple(fields)}
    made = type(cls)(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _extended(cls: Any, fields: Mapping[str, _Field], attributes: Mapping[str, Any]) -> Any:
    """Adds attributes to a class, and returns the class."""
    for name, field in fields.items():
        if field.default is not _MISSING:
            setattr(cls, name, field.default)
        elif not field.is_required:
            delattr(cls, name)
    for name, value in attributes.items():
        setattr(cls, name, value)
    return cls


def _make_init(cls: Any, fields: Iterable[_Field], *, slots: bool) -> Callable[..., None]:
    scope: dict[str, Any] = {"_MISSING": _MISSING, "_set": object.__setattr__}
    parameters, steps = ["self"], []
    for field in fields:
        name = value = field.name
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
            # Faster than `object.__setattr__`, which searches for the slot.
            scope[f"_set_{name}"] = vars(cls)[name].__set__
            steps.append(f"_set_{name}(self, {value})")
        else:
            steps.append(f"_set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        steps.append("self.__post_init__()")
    # Each step returns None, so `or` evaluates all steps.
    init = _compiled(cls, "__init__", parameters, " or ".join(steps) or "None", scope)
    annotations = {field.name: cls.__annotations__[field.name] for field in fields}
    init.__annotations__ = annotations | {"return": None}
    return init


def _make_repr(cls: Any) -> Callable[[Any], str]:
    shown = (f"{field.name}={{self.{field.name}!r}}" for field in _fields(cls) if field.repr)
    text = f"f'{{self.__class__.__qualname__}}({', '.join(shown)})'"
    cls.__repr__ = recursive_repr()(_compiled(cls, "__repr__", ["self"], text, {}))
    return cls.__repr__  # type: ignore[no-any-return]


def _make_eq(cls: Any) -> Callable[[Any, Any], bool]:
    equal = f"{_values_of('self', cls)} == {_values_of('other', cls)}"
    text = f"{equal} if other.__class__ is self.__class__ else NotImplemented"
    return _compiled(cls, "__eq__", ["self", "other"], text, {})


def _make_hash(cls: Any) -> Callable[[Any], int]:
    return _compiled(cls, "__hash__", ["self"], f"hash({_values_of('self', cls)})", {})


def _values_of(record: str, cls: Any) -> str:
    """Returns the expression for a tuple of the compared values of a record."""
    return f"({''.join(f'{record}.{field.name}, ' for field in _fields(cls) if field.compare)})"


def _compiled(
    cls: Any, name: str, parameters: Sequence[str], result: str, scope: dict[str, Any]
) -> Callable[..., Any]:
    """Compiles a method that returns the value of an expression; adds this method to the class."""
    # Only the names of fields are part of the text.
    method: Callable[..., Any] = eval(f"lambda {', '.join(parameters)}: {result}", scope)  # noqa: S307
    method.__name__ = name
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    method.__module__ = cls.__module__
    setattr(cls, name, method)
    return method


def _refuse_to_assign(self: Any, name: str, value: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in self.__own_fields__]


def _setstate(self: Any, state: list[Any]) -> None:
    for field, value in zip(self.__own_fields__, state, strict=True):
        object.__setattr__(self, field.name, value)


def _make_standard_fields(cls: Any) -> dict[str, Any]:
    # The functions of `dataclasses` read this attribute.
    import dataclasses

    described: list[Any] = []
    for field in _fields(cls):
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
        described.append((field.name, cls.__annotations__[field.name], standard))
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
