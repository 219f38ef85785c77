"""Options declared once: a field of a record is an option, a Python argument and its default.

`cli.options.options_of` makes the command-line options of a record, `keywords` makes the arguments
of a Python function, and `checked` refuses bad values for both.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin
from typing import get_type_hints as hints_of

from sweepengine.data.errors import InputError

Record = TypeVar("Record")
Result = TypeVar("Result")
OPTIONS = """\
    options : {}
        Each of its fields by keyword (`search.options`).
"""
"""Placeholder in a docstring for the options of a record."""


class Option(NamedTuple):
    """What an option declares in addition to its name, type and default."""

    help: str
    """Its meaning, with the unit."""
    flag: str = ""
    """Its name on the command line; empty: made from `keyword`."""
    alias: str = ""
    """Another name on the command line: that of the input of points, where it differs."""
    keyword: str = ""
    """Its name in Python; empty: the name of the field."""
    shown: str = ""
    """The default in words, where it is not one value."""
    choices: tuple[str, ...] = ()
    above: float | None = None
    least: float | None = None
    most: float | None = None
    expected: str = ""
    """The valid values in words; empty: `least`..`most`, or the choices."""

    def allows(self, value: Any) -> bool:
        """Tell whether a value is valid."""
        if self.choices:
            values = value if isinstance(value, tuple) else (value,)
            return all(choice in self.choices for choice in values)
        return (
            (self.above is None or self.above < value)
            and (self.least is None or self.least <= value)
            and (self.most is None or value <= self.most)
        )

    @property
    def allowed(self) -> str:
        """The valid values, in words."""
        if self.choices:
            return " or ".join(self.choices)
        return self.expected or f"{self.least:,}..{self.most:,}"


class Declared(NamedTuple):
    """An option of a record: its field and its declaration."""

    name: str
    """Name of the field."""
    kind: Any
    """Type of its value, or of each of several values: str, int, float, bool, Mapping."""
    default: Any
    option: Option
    several: bool
    """Whether it takes several values."""

    @property
    def keyword(self) -> str:
        """Its name in Python."""
        return self.option.keyword or self.name

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.option.flag or f"--{self.keyword.replace('_', '-')}"

    @property
    def help(self) -> str:
        """Its meaning, and its default in words."""
        shown = self.option.shown
        if not shown and self.default not in (None, (), {}, False):
            shown = ", ".join(self.default) if self.several else f"{self.default}"
        return f"{self.option.help[:-1]} [default: {shown}]." if shown else self.option.help


@cache
def _fields(record: Any) -> dict[str, type | Declared]:
    """Return the fields of a record that are options, or are records of options."""
    fields: dict[str, type | Declared] = {}
    defaults = record._field_defaults
    for name, hint in hints_of(record, include_extras=True).items():
        if hasattr(hint, "_fields"):
            fields[name] = hint
        elif get_origin(hint) is Annotated:
            kind, option = get_args(hint)
            if get_origin(kind) is UnionType:
                (kind,) = set(get_args(kind)) - {type(None)}
            several = get_origin(kind) is tuple
            kind = get_args(kind)[0] if several else get_origin(kind) or kind
            fields[name] = Declared(name, kind, defaults[name], option, several)
    return fields


def declared(record: type) -> Iterator[Declared]:
    """Yield the options of a record, including those of records within it."""
    for field in _fields(record).values():
        if isinstance(field, Declared):
            yield field
        else:
            yield from declared(field)


def record_of(record: type[Record], values: Mapping[str, Any]) -> Record:
    """Make a record from values by keyword; missing values take their defaults."""
    chosen: dict[str, Any] = {}
    kind: Any = record
    for name, field in _fields(kind).items():
        if not isinstance(field, Declared):
            chosen[name] = record_of(field, values)
        elif field.keyword in values:
            value = values[field.keyword]
            chosen[name] = tuple(value) if field.several and not isinstance(value, str) else value
    return record(**chosen)


def checked(command: str, record: Any) -> None:
    """Check the options of a record.

    Raises
    ------
    InputError
        Naming the first option whose value is not valid.
    """
    kind: Any = type(record)
    for name, field in _fields(kind).items():
        value = getattr(record, name)
        if not isinstance(field, Declared):
            checked(command, value)
        elif value is not None and not field.option.allows(value):
            text = f"{value:g}" if isinstance(value, float) else f"{value}"
            raise InputError(f"{command}: {field.flag} {text}: expected {field.option.allowed}")


def keywords(record: type) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let a Python function with a parameter `options` take the fields of a record by keyword.

    Its signature and its docstring list them.
    """
    options = {field.keyword: field for field in declared(record)}

    def decorated(function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def called(*args: Any, **given: Any) -> Result:
            chosen = {name: given.pop(name) for name in options if name in given}
            return function(*args, options=record_of(record, chosen), **given)

        signature = inspect.signature(function)
        only = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter(
                name, only, default=field.default,
                annotation=field.kind | None if field.default is None else field.kind,
            )
            for name, field in options.items()
        ]  # fmt: skip
        fixed = [p for p in signature.parameters.values() if p.name != "options"]
        # Positional parameters first; the sort keeps the order among those of one kind.
        order = sorted([*added, *fixed], key=lambda p: p.kind is only)
        called.__signature__ = signature.replace(parameters=order)  # type: ignore[attr-defined]
        lines = "".join(
            f"    {name} : {field.kind.__name__}\n        {field.help}\n"
            for name, field in options.items()
        )
        called.__doc__ = (function.__doc__ or "").replace(OPTIONS.format(record.__name__), lines)
        return called

    return decorated
