"""Options declared once: a field of a record is an option, a Python argument and its default.

`cli.options.options_of` makes options of the command line of a record, `keywords` arguments of a
Python function, and `checked` refuses values that are not valid for both.
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
"""What stands in a docstring for the options of a record."""


class Option(NamedTuple):
    """What is declared of an option beside its name, type and default."""

    help: str
    """What it is, with its unit."""
    flag: str = ""
    """On the command line; empty: as `keyword`."""
    keyword: str = ""
    """In Python; empty: the name of the field."""
    shown: str = ""
    """The default in words, where it is not one value."""
    choices: tuple[str, ...] = ()
    above: float | None = None
    least: float | None = None
    most: float | None = None
    expected: str = ""
    """What is valid, in words; empty: `least`..`most`, or the choices."""

    def allows(self, value: Any) -> bool:
        """Whether a value is valid."""
        if self.choices:
            values = value if isinstance(value, tuple) else (value,)
            return all(one in self.choices for one in values)
        return (
            (self.above is None or self.above < value)
            and (self.least is None or self.least <= value)
            and (self.most is None or value <= self.most)
        )

    @property
    def allowed(self) -> str:
        """What is valid, in words."""
        if self.choices:
            return " or ".join(self.choices)
        return self.expected or f"{self.least:,}..{self.most:,}"


class Declared(NamedTuple):
    """An option of a record: its field, and what is declared of it."""

    name: str
    """Of the field."""
    kind: Any
    """Type of its value, or of each of several: str, int, float, bool; dict of prices."""
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
        """What it is, and its default in words."""
        shown = self.option.shown
        if not shown and self.default not in (None, (), {}, False):
            shown = ", ".join(self.default) if self.several else f"{self.default}"
        return f"{self.option.help[:-1]} [default: {shown}]." if shown else self.option.help


@cache
def _fields(record: Any) -> dict[str, type | Declared]:
    """Fields of a record that are options, or records of options themselves."""
    found: dict[str, type | Declared] = {}
    defaults = record._field_defaults
    for name, hint in hints_of(record, include_extras=True).items():
        if hasattr(hint, "_fields"):
            found[name] = hint
        elif get_origin(hint) is Annotated:
            kind, option = get_args(hint)
            if get_origin(kind) is UnionType:
                (kind,) = set(get_args(kind)) - {type(None)}
            several = get_origin(kind) is tuple
            kind = get_args(kind)[0] if several else get_origin(kind) or kind
            found[name] = Declared(name, kind, defaults[name], option, several)
    return found


def declared(record: type) -> Iterator[Declared]:
    """Options of a record, those of records within it too."""
    for field in _fields(record).values():
        if isinstance(field, Declared):
            yield field
        else:
            yield from declared(field)


def record_of(record: type[Record], values: Mapping[str, Any]) -> Record:
    """A record of values by keyword; those that are missing have their defaults."""
    found: dict[str, Any] = {}
    kind: Any = record
    for name, field in _fields(kind).items():
        if not isinstance(field, Declared):
            found[name] = record_of(field, values)
        elif field.keyword in values:
            value = values[field.keyword]
            found[name] = tuple(value) if field.several and not isinstance(value, str) else value
    return record(**found)


def checked(command: str, record: Any) -> None:
    """Check the options of a record.

    Raises
    ------
    InputError
        Naming the first whose value is not valid.
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
    """Let a Python function take the options of a record, which it has as `options`, by keyword.

    Its signature and the Parameters of its documentation list them.
    """
    options = {one.keyword: one for one in declared(record)}

    def decorated(function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def called(*args: Any, **given: Any) -> Result:
            chosen = {name: given.pop(name) for name in options if name in given}
            return function(*args, options=record_of(record, chosen), **given)

        signature = inspect.signature(function)
        only = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter(
                name, only, default=one.default,
                annotation=one.kind | None if one.default is None else one.kind,
            )
            for name, one in options.items()
        ]  # fmt: skip
        own = [p for p in signature.parameters.values() if p.name != "options"]
        order = [
            *(p for p in own if p.kind is not only),
            *added,
            *(p for p in own if p.kind is only),
        ]
        called.__signature__ = signature.replace(parameters=order)  # type: ignore[attr-defined]
        lines = "".join(
            f"    {name} : {one.kind.__name__}\n        {one.help}\n"
            for name, one in options.items()
        )
        called.__doc__ = (function.__doc__ or "").replace(OPTIONS.format(record.__name__), lines)
        return called

    return decorated
