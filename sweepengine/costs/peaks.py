"""Devices as a table: peaks by format, memory, links, power."""

from sweepengine.data.devices import GIBI, GIGA, TERA, Device

HEADER = ("device", "bf16", "fp8", "fp4", "int8", "CUDA", "GB/s", "GB", "usable GiB", "link",
          "devices/node", "network", "W")  # fmt: skip
TITLE = (
    "Devices: dense tensor and fp32 CUDA peaks, TFLOP/s; memory of the data sheet, GB, and as the\n"
    "driver reports it, GiB (*: assumed); links and network, GB/s one way per device"
)


def row_of_device(device: Device) -> tuple[str, ...]:
    """Return the cells of one device, in the order of `HEADER`; empty where its file has none."""
    peaks = [device.peaks.get(kind) for kind in ("bf16", "fp8", "fp4", "int8")]
    links = device.links
    network = links.network_bytes_per_s if links else None
    return (
        device.name,
        *("" if peak is None else f"{peak / TERA:,g}" for peak in peaks),
        f"{device.cuda_flops_per_s / TERA:,g}",
        f"{device.bytes_per_s / GIGA:,g}",
        f"{device.memory_bytes / GIGA:,g}",
        f"{device.usable_bytes / GIBI:,.1f}{'*' if device.usable_assumed else ''}",
        f"{links.bytes_per_s / GIGA:,g}" if links else "",
        f"{links.devices_a_node}" if links else "",
        f"{network / GIGA:,g}" if network else "",
        "" if device.watts is None else f"{device.watts:,g}",
    )
