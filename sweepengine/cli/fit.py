"""`fit`: whether a model fits on devices, how many requests it holds, how fast it is."""

from typing import Any

import click

from sweepengine.cli.options import as_json_option, devices_option, options_of, searched
from sweepengine.search.options import FitOptions, RequestOptions
from sweepengine.show.terminal import say_json


@click.command(
    epilog="Example: sweepengine fit llama-3.1-8b --device h100-sxm --device l4 "
    "--prompt 4000 --answer 500"
)
@click.argument("model")
@devices_option("devices")
@options_of(RequestOptions)
@options_of(FitOptions)
@as_json_option
def fit(model: str, devices: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Check whether MODEL fits on devices, how many concurrent requests it holds, and how fast.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.search.fit import find_fit

    fitted = searched("fit", find_fit, model, devices, FitOptions, given)
    if as_json:
        say_json(fitted.as_dict())
        return
    from sweepengine.show.cards import show_fit

    show_fit(fitted, model)
