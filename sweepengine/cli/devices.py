"""`devices`: list the accelerators."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say, say_json


@click.command(epilog="Example: sweepengine devices")
@click.option("--prices", is_flag=True, help="List the shipped prices of public clouds instead.")
@as_json_option
def devices(prices: bool, as_json: bool) -> None:
    """List the shipped devices with their peaks; --json adds the source of each figure.

    GB10 and Ascend are not shipped, as no public table has rates of their kernels.
    """
    if prices:
        _show_prices(as_json)
        return
    from sweepengine.costs.peaks import HEADER, TITLE, row_of_device
    from sweepengine.data.devices import load_device
    from sweepengine.data.files import known

    devices = [load_device(name) for name in known("devices")]
    if as_json:
        say_json([{**device._asdict(), "data": None} for device in devices])
        return
    print_table(TITLE, [row_of_device(device) for device in devices], HEADER)


def _show_prices(as_json: bool) -> None:
    """Print the shipped price lists."""
    from sweepengine.data.prices import price_lists

    lists = price_lists()
    if as_json:
        say_json({name: each._asdict() for name, each in lists.items()})
        return
    rows = [
        (name, device, f"{usd:g}", each.term, each.date)
        for name, each in lists.items()
        for device, usd in each.usd.items()
    ]
    print_table("List prices of public clouds, USD an hour", rows,
                ("--price-list", "device", "USD/hour", "term", "read on"))  # fmt: skip
    for name, each in lists.items():
        say(f"{name}: {each.title}: {each.source}")
