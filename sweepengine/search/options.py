"""The options of commands: a field of a record is an option, a Python argument and its default.

`cli.options.options_of` makes options of the command line of a record, `keywords` arguments of a
Python function, and `checked` refuses values that are not valid for both.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin
from typing import get_type_hints as hints_of

from sweepengine.data.errors import InputError
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, TIMES

Record = TypeVar("Record")
Result = TypeVar("Result")
OPTIONS = "**options"
"""Line of a docstring that stands for the options of a record."""
AGGREGATED, DISAGGREGATED = "aggregated", "disaggregated"
MODES = (AGGREGATED, DISAGGREGATED)
"""Copies prefill and decode both; or some groups of devices prefill, others decode."""
BATCHES = 1024
"""Largest batch that a search tries by default."""


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


_INFINITE = 1.7e308
_PART = {"above": 0.0, "most": 1.0, "expected": "above 0, at most 1"}
_SECONDS = {"above": 0.0, "most": _INFINITE, "expected": "seconds above 0"}
_BATCH = {"least": 1, "most": 65_536}
Layout = Annotated[
    str | None,
    Option("Such as tp2.", shown="the fewest devices that hold the model"),
]
Precision = Annotated[str, Option("Formats of weights, activations and KV cache, such as fp8-kv8.")]
Framework = Annotated[
    str, Option("Serving engine whose kernels were measured.", choices=FRAMEWORKS)
]
Times = Annotated[
    str | None,
    Option("Times of measured kernels, or of the data sheet.", choices=TIMES,
           shown="silicon where a device has rates"),
]  # fmt: skip
Serving = Annotated[
    str, Option("One batch after the other, or requests that join a running one.", choices=SERVING)
]
Prices = Annotated[
    Mapping[str, float],
    Option("USD an hour of a device, such as h100-sxm=2.5.", flag="--price"),
]


def _default(name: str) -> str:
    return f"{INPUTS[name].default:,}"


class LatencyTargets(NamedTuple):
    """Latencies that an answer must meet."""

    ttft_s: Annotated[
        float, Option("Seconds to the first token at most.", keyword="ttft", **_SECONDS)
    ] = 2.0
    tpot_s: Annotated[
        float, Option("Seconds for each further token at most.", keyword="tpot", **_SECONDS)
    ] = 0.05


class GridTargets(NamedTuple):
    """Latencies where a grid may have its own."""

    ttft_s: Annotated[
        float | None,
        Option("Seconds to the first token.", keyword="ttft", shown="the grid's"),
    ] = None
    tpot_s: Annotated[
        float | None,
        Option("Seconds for each further token.", keyword="tpot", shown="the grid's"),
    ] = None


class ServingAssumptions(NamedTuple):
    """What is assumed of a serving engine."""

    share: Annotated[
        float, Option("Part of the requests that TTFT and memory hold for.", **_PART)
    ] = 0.95
    memory_share: Annotated[
        float, Option("Part of a device's memory that an engine takes.", **_PART)
    ] = 0.9
    chunk_tokens: int = 8192
    """Tokens of a prefill that engines run at once on data-centre devices, and so its
    activations."""


class RequestOptions(NamedTuple):
    """How long requests are: a file of many, or one."""

    lengths: Annotated[
        Path | None, Option("CSV or Parquet of requests: prompt, answer, mode or crops, weight.")
    ] = None
    mode: Annotated[
        str | None, Option("Of an image: resolution mode and crops, such as gundam:2x3.")
    ] = None
    crops: Annotated[str | None, Option("Of an image: crop grid, such as 2x3.")] = None
    prompt: Annotated[
        int | None,
        Option("Tokens of a prompt, or beside images.",
               shown=f"{_default('prompt_tokens')}; with images {_default('text_tokens')}"),
    ] = None  # fmt: skip
    answer: Annotated[int | None, Option("Tokens decoded.", shown=_default("decode_steps"))] = None
    cached_tokens: Annotated[int | None, Option("Tokens before those, already in the cache.")] = (
        None
    )


class FitOptions(NamedTuple):
    """What a card of `fit` is of."""

    layout: Layout = None
    precision: Precision = OWN
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()


class DeployOptions(NamedTuple):
    """What a deployment must do, and what may be tried for it."""

    targets: LatencyTargets = LatencyTargets()
    devices: Annotated[int | None, Option("How many there are.", shown="a node", **_BATCH)] = None
    """Of one kind; None: a node of them, or as many as a rate takes."""
    rate: Annotated[
        float | None,
        Option("Requests a second that must be served.", above=0.0, most=1e12,
               expected="requests a second above 0"),
    ] = None  # fmt: skip
    """None: as many as devices make."""
    frameworks: Annotated[
        tuple[str, ...],
        Option("Serving engines to compare.", flag="--framework", choices=FRAMEWORKS,
               shown=FRAMEWORKS[0]),
    ] = FRAMEWORKS[:1]  # fmt: skip
    modes: Annotated[
        tuple[str, ...], Option("Only this.", flag="--mode-of-serving", choices=MODES)
    ] = MODES
    precisions: Annotated[
        tuple[str, ...], Option("Only these, such as fp8-kv8.", flag="--precision")
    ] = ()
    """Empty: those that a device has the peaks for."""
    layouts: Annotated[
        tuple[str, ...], Option("Only these, such as tp4-ep8.", flag="--layout")
    ] = ()
    """Empty: all that a model can have."""
    most_batch: Annotated[int, Option("Largest tried.", flag="--batch", **_BATCH)] = BATCHES
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()
    prices: Prices = {}


class MapOptions(NamedTuple):
    """What a map of limits is of."""

    targets: LatencyTargets = LatencyTargets()
    over: Annotated[
        str | None,
        Option("What varies.", choices=("prompt", "answer"),
               shown="prompt; of models with vision answer"),
    ] = None  # fmt: skip
    longest: Annotated[int | None, Option("Tokens.", shown="131,072; of answers 8,192")] = None
    most_batch: Annotated[int, Option("Largest.", flag="--batch")] = BATCHES
    cells: Annotated[int, Option("Points a panel.", least=100, most=100_000_000)] = 40_000
    layout: Annotated[str, Option("Such as tp4-ep8.")] = "tp1"
    precision: Precision = OWN
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()


class PlaceOptions(NamedTuple):
    """How a device serves, and what its times are of."""

    framework: Framework = FRAMEWORKS[0]
    serving: Serving = SERVING[0]
    times: Times = None


class SloOptions(NamedTuple):
    """How devices serve points, what times are of, and what devices cost."""

    framework: Framework = FRAMEWORKS[0]
    serving: Serving = SERVING[0]
    times: Times = None
    compute_fraction: Annotated[
        float, Option("Fraction of the compute peaks that kernels reach, at the roofline.")
    ] = 1.0
    bandwidth_fraction: Annotated[
        float, Option("Fraction of the memory bandwidth that kernels reach, at the roofline.")
    ] = 1.0
    prices: Prices = {}


class CompareOptions(NamedTuple):
    """How measured runs were served, and whether to calibrate on them."""

    layout: Annotated[
        str | None, Option("Such as tp4, where runs say none.", shown="one device")
    ] = None
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    calibrate: Annotated[bool, Option("Fit a host constant and one factor to the runs.")] = False


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
        called.__doc__ = (function.__doc__ or "").replace(f"    {OPTIONS}\n", lines)
        return called

    return decorated
