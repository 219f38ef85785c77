"""Options that several commands share, and those that follow from the axes."""

from collections.abc import Callable
from typing import Any

import click

from sweepengine.data.errors import InputError
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import AXES

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def axis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each axis, its value spelled as in a grid file."""
    for name, axis in reversed(AXES.items()):
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
