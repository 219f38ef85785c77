"""Options that several commands share, and those that follow from the axes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sweepengine.data.errors import InputError
from sweepengine.data.machine import MOST_COUNTED, TO_DRAW, require_addresses
from sweepengine.data.outputs import KINDS, check_writable
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, TIMES
from sweepengine.grid.axes import AXES


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


PLACE = {
    "serving": (SERVING, "One batch after the other, or requests that join a running one."),
    "framework": (FRAMEWORKS, "Serving engine whose kernels were measured."),
    "times": (TIMES, "Times of measured kernels, or of the data sheet."),
}
"""Options that say what times are of: choices and meaning."""


def _place_option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    choices, meaning = PLACE[name]
    shown = choices[0] if name != "times" else "silicon where a device has rates"
    default = choices[0] if name != "times" else None
    kind = click.Choice(choices)
    return click.option(
        f"--{name}", type=kind, default=default, help=f"{meaning} [default: {shown}]"
    )


framework_option, times_option = _place_option("framework"), _place_option("times")


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what times are of."""
    for name in PLACE:
        command = _place_option(name)(command)
    return command


def axis_values(command: str, options: dict[str, object]) -> dict[str, object]:
    """The `[axes]` table that a command's options make."""
    given = {axis: value for axis, value in options.items() if value is not None}
    if isinstance(heads := given.get("heads"), str):
        try:
            given["heads"] = [[int(number) for number in heads.split(",")]]
        except ValueError:
            raise InputError(
                f"{command}: --heads {heads}: expected query and key-value heads, such as 10,5"
            ) from None
    return given
