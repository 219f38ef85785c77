"""Options that several commands share, and those that follow from the axes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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


class OutputFile(click.Path):
    """A file to write, refused before anything is computed where it cannot be written."""

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = endings

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """The path.

        Raises
        ------
        InputError
            When it ends otherwise, or cannot be written.
        """
        path = Path(value)
        if self.endings and path.suffix not in self.endings:
            raise InputError(f"{path}: expected a file name that ends in {', '.join(self.endings)}")
        check_writable(path)
        if set(self.endings) == set(KINDS):
            require_addresses(TO_DRAW)
        return path


def chart_option(what: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--chart` of a command that draws `what`."""
    said = f"Write {what} to FILE.svg, .png or .html." if what else "Write FILE.svg, .png or .html."
    return click.option("--chart", type=OutputFile(*KINDS), help=said)


def top_option(
    what: str, shown: int | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--top`: how many of `what`, `shown` if nothing is said."""
    kind = click.IntRange(1, MOST_COUNTED)
    return click.option("--top", type=kind, default=shown, show_default=True, help=what)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


BESIDE = ("device", "framework", "serving")
"""Axes that only points on a device have; commands that take devices have options for them."""


def axis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each axis, its value spelled as in a grid file."""
    for name, axis in reversed(AXES.items()):
        if name in BESIDE:
            continue
        kind: Any = int if axis.spelling == "numbers" else str
        if name in INPUTS and INPUTS[name].scale > 1:
            kind = float
        if axis.spelling == "choices":
            kind = click.Choice(INPUTS[name].choices)
        meaning = f"{axis.meaning[0].upper()}{axis.meaning[1:]}, such as {axis.example}."
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=meaning)(
            command
        )
    return command


def options_of(record: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that a record declares; `search.options.record_of` reads them."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(list(declared(record))):
            choices, flag = one.option.choices, one.kind is bool
            prices = one.kind is Mapping
            command = click.option(
                one.flag, one.keyword, is_flag=flag, help=one.help,
                type=click.Choice(choices) if choices else None if flag else str if prices
                else one.kind,
                multiple=one.several or prices, callback=_prices if prices else None,
                default=() if prices else one.default,
            )(command)  # fmt: skip
        return command

    return decorated


def _prices(
    ctx: click.Context, option: click.Parameter, written: Sequence[str]
) -> dict[str, float]:
    """Prices by device.

    Raises
    ------
    InputError
        When one is not written as ``h100-sxm=2.5``.
    """
    found = {}
    for price in written:
        name, _, usd = price.partition("=")
        try:
            found[name] = float(usd)
        except ValueError:
            raise InputError(
                f"{ctx.info_name}: --price {price}: expected DEVICE=USD an hour, such as "
                "h100-sxm=2.5"
            ) from None
    return found


def axis_values(command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a point, by axis, that the options of `axis_options` say."""
    given = {axis: options[axis] for axis in AXES if options.get(axis) is not None}
    given = {axis: value for axis, value in given.items() if axis not in BESIDE}
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
    """What a search finds for a model on devices, by the options of a command.

    Parameters
    ----------
    command : str
        What to call it in messages.
    find : callable
        The search: of a model, devices, lengths and a record of options.
    model : str
        Name or file.
    devices : sequence of str
        Names or files.
    record : type
        Of the options that the search takes.
    given : dict
        Options of the command: those of `RequestOptions` and of `record`.

    Raises
    ------
    InputError
        When one is not valid.
    """
    from sweepengine.data.models import load_model

    loaded = load_model(model)
    lengths = lengths_of_options(command, loaded, given)
    return find(loaded, devices, lengths, record_of(record, given))


def lengths_of_options(command: str, model: "Model", given: dict[str, Any]) -> "Lengths":
    """Lengths that a command's options say (`RequestOptions`).

    Raises
    ------
    InputError
        When there are both a file and single lengths, or they are not valid.
    """
    from sweepengine.grid.lengths import lengths_of

    names = [one.keyword for one in declared(RequestOptions)]
    table = {name: given[name] for name in names if given[name] is not None}
    path = table.pop("lengths", None)
    if path is not None:
        if table:
            option = f"--{next(iter(table)).replace('_', '-')}"
            raise InputError(f"{command}: {option}: expected none beside --lengths")
        from sweepengine.search.requests import read_lengths

        return read_lengths(path, model)
    for name in ("mode", "crops"):
        if name in table and not model.has_vision:
            raise InputError(f"{command}: --{name}: {model.name} sees no images")
    return lengths_of(command, model, {name: [value] for name, value in table.items()})
