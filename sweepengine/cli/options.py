"""Options that several commands share, and options made from axes and records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepengine.cli.numbers import Number
from sweepengine.data.errors import InputError
from sweepengine.data.machine import MOST_COUNTED, TO_DRAW, require_addresses
from sweepengine.data.outputs import KINDS, check_writable
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import AXES
from sweepengine.search.declarations import declared, record_of
from sweepengine.search.options import RequestOptions

if TYPE_CHECKING:
    from sweepengine.data.models import Model
    from sweepengine.grid.lengths import Lengths

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class OutputFile(click.Path):
    """A file to write; a path that cannot be written is refused before anything is computed."""

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = endings

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """Return the path.

        Raises
        ------
        InputError
            When its name does not end in one of `endings`, or it cannot be written.
        """
        path = Path(value)
        if self.endings and path.suffix not in self.endings:
            raise InputError(f"{path}: expected a file name that ends in {', '.join(self.endings)}")
        check_writable(path)
        if set(self.endings) == set(KINDS):
            require_addresses(TO_DRAW)
        return path


def chart_option(what: str = "") -> Decorator:
    """Return the option `--chart` of a command that draws `what`."""
    text = f"Write {what or 'the chart'} to FILE.svg, .png or .html."
    return click.option("--chart", type=OutputFile(*KINDS), help=text)


def devices_option(name: str, text: str = "Device, by name or file; can be repeated.") -> Decorator:
    """Return the option `--device` of a command that takes several."""
    return click.option("--device", name, multiple=True, required=True, help=text)


def top_option(what: str, shown: int | None = None) -> Decorator:
    """Return the option `--top`: how many of `what` to show, by default `shown`."""
    kind = click.IntRange(1, MOST_COUNTED)
    return click.option("--top", type=kind, default=shown, show_default=True, help=what)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


DEVICE_AXES = ("device", "framework", "serving", "framework_version", "memory_share",
               "max_sequences", "chunk_tokens")  # fmt: skip
"""Axes of points on a device; commands that take devices have options for them."""


@contextmanager
def needs_extra(command: str, extra: str) -> Iterator[None]:
    """Import modules that need an extra of the package.

    Raises
    ------
    InputError
        When one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{command}: {error.name} is not installed: run pip install 'sweepengine[{extra}]'"
        ) from None


def axis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each axis, with values spelled as in a grid file."""
    short = {field.option.alias: field.flag for field in declared(RequestOptions)}
    for name, axis in reversed(AXES.items()):
        if name in DEVICE_AXES:
            continue
        kind: Any = Number(int) if axis.spelling == "numbers" else str
        if name in INPUTS and INPUTS[name].scale > 1:
            kind = Number(float)
        if axis.spelling == "choices" and name != "draft":  # which may be a model
            kind = click.Choice(INPUTS[name].choices, case_sensitive=False)
        flag = f"--{name.replace('_', '-')}"
        names = [flag, short[flag]] if flag in short else [flag]
        command = click.option(*names, name, type=kind, help=axis_help(name))(command)
    return command


def axis_help(name: str) -> str:
    """The meaning of an axis, with its default, or an example where several columns have one."""
    axis = AXES[name]
    meaning = f"{axis.meaning[0].upper()}{axis.meaning[1:]}"
    if name not in INPUTS:
        return f"{meaning}, such as {axis.example}."
    column = INPUTS[name]
    unset = "none" if column.scale == 1 else column.zero
    return f"{meaning} [default: {unset if axis.example == '0' else axis.example}]."


def options_of(record: type) -> Decorator:
    """Give a command the options of a record; `search.declarations.record_of` reads them."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed(list(declared(record))):
            choices, flag = field.option.choices, field.kind is bool
            prices = field.kind is Mapping
            names = filter(None, (field.flag, field.option.alias, field.keyword))
            command = click.option(
                *names, is_flag=flag, help=field.help,
                type=click.Choice(choices, case_sensitive=False) if choices
                else None if flag else str if prices
                else Number(field.kind, field.option.unit) if field.kind in (int, float)
                else field.kind,
                multiple=field.several or prices, callback=_prices if prices else None,
                default=() if prices else field.default,
            )(command)  # fmt: skip
        return command

    return decorated


def _prices(
    ctx: click.Context, option: click.Parameter, written: Sequence[str]
) -> dict[str, float]:
    """Return prices by device, USD an hour.

    Raises
    ------
    InputError
        When a price is not written as ``h100-sxm=2.5``.
    """
    prices = {}
    for price in written:
        name, _, usd = price.partition("=")
        try:
            prices[name] = float(usd)
        except ValueError:
            raise InputError(
                f"{ctx.info_name}: --price {price}: expected DEVICE=USD an hour, such as "
                "h100-sxm=2.5"
            ) from None
    return prices


def axis_values(command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a point, by axis, from the options of `axis_options`."""
    given = {
        axis: options[axis]
        for axis in AXES
        if axis not in DEVICE_AXES and options.get(axis) is not None
    }
    if "heads" in given:
        try:
            given["heads"] = tuple(int(number) for number in given["heads"].split(","))
        except ValueError:
            raise InputError(
                f"{command}: --heads {given['heads']}: expected query and key-value heads, such "
                "as 10,5"
            ) from None
    return given


def searched(
    command: str,
    find: Callable[..., Any],
    model: str,
    devices: Sequence[str],
    record: type,
    given: dict[str, Any],
) -> Any:
    """Run a search for a model on devices, with the options of a command.

    Parameters
    ----------
    command : str
        Its name in messages.
    find : callable
        The search, of a model, devices, lengths and a record of options.
    model : str
        Name or file.
    devices : sequence of str
        Names or files.
    record : type
        Type of the options that the search takes.
    given : dict
        Options of the command: those of `RequestOptions` and of `record`.

    Raises
    ------
    InputError
        When an option is not valid, or both a file and single lengths are given.
    """
    from sweepengine.data.models import load_model

    loaded = load_model(model)
    return find(loaded, devices, _lengths(command, loaded, given), record_of(record, given))


def _lengths(command: str, model: "Model", given: dict[str, Any]) -> "Lengths":
    """Return the lengths of requests that the options say (`RequestOptions`)."""
    from sweepengine.grid.lengths import lengths_of
    from sweepengine.grid.points import has_axis

    flags = {field.keyword: field.flag for field in declared(RequestOptions)}
    table = {name: given[name] for name in flags if given[name] is not None}
    path = table.pop("lengths", None)
    if path is not None:
        if table:
            raise InputError(f"{command}: {flags[next(iter(table))]}: remove it, or --lengths")
        from sweepengine.search.requests import read_lengths

        return read_lengths(path, model)
    for name in ("mode", "crops", "image", "page"):
        if name in table and not has_axis(model, name):
            reason = "sees every image at one size" if model.has_vision else "sees no images"
            raise InputError(f"{command}: --{name}: {model.name} {reason}: remove it")
    return lengths_of(command, model, {name: [value] for name, value in table.items()})
