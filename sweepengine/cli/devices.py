"""`devices`: what is known of accelerators."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say_json


@click.command()
@as_json_option
def devices(as_json: bool) -> None:
    """List the devices that are known, with their peaks and sources."""
    from sweepengine.data.devices import GIGA, TERA, load_device
    from sweepengine.data.files import known

    found = [load_device(name) for name in known("devices")]
    if as_json:
        say_json([device._asdict() for device in found])
        return
    rows = [
        (
            device.name,
            f"{device.tensor_flops_per_s / TERA:,g}",
            f"{device.cuda_flops_per_s / TERA:,g}",
            f"{device.bytes_per_s / GIGA:,g}",
            f"{device.memory_bytes / GIGA:,g}",
            device.sources["tensor_bf16"],
        )
        for device in found
    ]
    title = "Peaks: dense bf16 tensor and fp32 CUDA-core TFLOP/s, memory bandwidth, memory"
    print_table(title, rows, ("device", "tensor", "CUDA", "GB/s", "GB", "source"))
