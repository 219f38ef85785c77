"""Options that say how long requests are, and prices: those of the commands that answer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepengine.data.errors import InputError
from sweepengine.formulas.points import INPUTS

if TYPE_CHECKING:
    from sweepengine.data.models import Model
    from sweepengine.grid.lengths import Lengths
    from sweepengine.search.steady_state import Setting
    from sweepengine.search.targets import Objectives

LENGTHS = {
    "mode": "Of an image: resolution mode and crops, such as gundam:2x3.",
    "crops": "Of an image: crop grid, such as 2x3.",
    "prompt": "Tokens of a prompt beside images [default: {prompt_tokens:,}; with images "
    "{text_tokens}].",
    "answer": "Tokens decoded [default: {decode_steps}].",
    "cached_tokens": "Tokens before those, already in the cache.",
}
"""Options for requests that are alike."""


def lengths_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command options for the lengths of requests."""
    defaults = {name: column.default for name, column in INPUTS.items()}
    for name, meaning in reversed(LENGTHS.items()):
        kind: Any = str if name in ("mode", "crops") else int
        option = click.option(
            f"--{name.replace('_', '-')}", name, type=kind, help=meaning.format(**defaults)
        )
        command = option(command)
    return click.option(
        "--lengths",
        "lengths_file",
        type=click.Path(path_type=Path),
        help="CSV or Parquet of requests: prompt, answer, mode or crops, weight.",
    )(command)


def lengths_of_options(
    command: str, model: "Model", lengths_file: Path | None, given: dict[str, Any]
) -> "Lengths":
    """Lengths that a command's options say.

    Raises
    ------
    InputError
        When there are both a file and single lengths, or they are not valid.
    """
    from sweepengine.grid.lengths import lengths_of

    said = {name: value for name, value in given.items() if name in LENGTHS and value is not None}
    if lengths_file is not None:
        if said:
            option = f"--{next(iter(said)).replace('_', '-')}"
            raise InputError(f"{command}: {option}: expected none beside --lengths")
        from sweepengine.search.requests import read_lengths

        return read_lengths(lengths_file, model)
    for name in ("mode", "crops"):
        if name in said and not model.has_vision:
            raise InputError(f"{command}: --{name}: {model.name} sees no images")
    table = {name: [value] for name, value in said.items()}
    return lengths_of(command, model, table)


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command options for how engines serve."""
    command = click.option(
        "--memory-share", type=float, default=0.9, show_default=True,
        help="Part of a device's memory that an engine takes.",
    )(command)  # fmt: skip
    return click.option(
        "--share", type=float, default=0.95, show_default=True,
        help="Part of the requests that TTFT and memory hold for.",
    )(command)  # fmt: skip


def setting_of(share: float, memory_share: float) -> "Setting":
    """What those options say."""
    from sweepengine.search.steady_state import Setting

    return Setting(share, memory_share)


price_option = click.option(
    "--price", "prices", multiple=True, help="USD an hour of a device, such as h100-sxm=2.5."
)


def prices_of(command: str, written: Sequence[str]) -> dict[str, float]:
    """Prices by device.

    Raises
    ------
    InputError
        When one is not spelled as ``h100-sxm=2.5``.
    """
    found = {}
    for price in written:
        name, _, usd = price.partition("=")
        try:
            found[name] = float(usd)
        except ValueError:
            raise InputError(
                f"{command}: --price {price}: expected DEVICE=USD an hour, such as h100-sxm=2.5"
            ) from None
    return found


def targets_of(command: str, ttft: float, tpot: float) -> "Objectives":
    """What `--ttft` and `--tpot` say.

    Raises
    ------
    InputError
        When one is no time above 0.
    """
    from sweepengine.search.targets import Objectives

    for name, value in (("ttft", ttft), ("tpot", tpot)):
        if not 0 < value < float("inf"):
            raise InputError(f"{command}: --{name} {value:g}: expected seconds above 0")
    return Objectives(ttft, tpot)
