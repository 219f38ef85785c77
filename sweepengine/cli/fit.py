"""`fit`: whether a model fits devices, as a card."""

from pathlib import Path

import click

from sweepengine.cli.options import as_json_option, framework_option, times_option
from sweepengine.cli.requests import (
    lengths_of_options,
    lengths_options,
    setting_of,
    setting_options,
)
from sweepengine.show.terminal import say_json


@click.command(
    epilog="Example: sweepengine fit llama-3.1-8b --device h100-sxm --device l4 "
    "--prompt 4000 --answer 500"
)
@click.argument("model")
@click.option("--device", "devices", multiple=True, required=True, help="Name or file; several.")
@lengths_options
@click.option("--layout", help="Such as tp2 [default: the fewest devices that hold the model].")
@click.option("--precision", default="checkpoint", show_default=True, help="Such as fp8-kv8.")
@framework_option
@times_option
@setting_options
@as_json_option
def fit(
    model: str,
    devices: tuple[str, ...],
    lengths_file: Path | None,
    layout: str | None,
    precision: str,
    framework: str,
    times: str | None,
    share: float,
    memory_share: float,
    as_json: bool,
    **given: object,
) -> None:
    """Say on one card whether MODEL fits devices, how many requests beside it, and how fast.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.data.models import load_model
    from sweepengine.search.fit import Wanted, find_fit

    lengths = lengths_of_options("fit", load_model(model), lengths_file, given)
    setting = setting_of(share, memory_share)
    wanted = Wanted(layout, precision, framework, times, setting)
    found = find_fit(model, devices, lengths, wanted)
    if as_json:
        say_json(found.as_dict())
        return
    from sweepengine.show.cards import show_fit

    show_fit(found, model)
