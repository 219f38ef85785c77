"""`devices`: list the accelerators."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say_json


@click.command(epilog="Example: sweepengine devices")
@as_json_option
def devices(as_json: bool) -> None:
    """List the shipped devices with their peaks; --json adds the source of each figure."""
    from sweepengine.costs.peaks import HEADER, TITLE, row_of_device
    from sweepengine.data.devices import load_device
    from sweepengine.data.files import known

    devices = [load_device(name) for name in known("devices")]
    if as_json:
        say_json([{**device._asdict(), "data": None} for device in devices])
        return
    print_table(TITLE, [row_of_device(device) for device in devices], HEADER)
