"""Devices as a table: peaks by format, memory, links, power."""

from sweepengine.data.devices import GIBI, GIGA, TERA, Device

HEADER = ("device", "bf16", "fp8", "fp4", "int8", "CUDA", "GB/s", "GB", "GiB", "link", "node",
          "net", "W")  # fmt: skip
TITLE = (
    "Devices: dense tensor and fp32 CUDA peaks, TFLOP/s; memory: GB of the data\n"
    "sheet, usable GiB as the driver reports them (*: assumed); links and the network\n"
    "between nodes (net), GB/s one way per device; node: devices in one"
)
_WHOLE = 100
"""Figures from here on are shown as whole numbers."""


def row_of_device(device: Device) -> tuple[str, ...]:
    """Return the cells of one device, in the order of `HEADER`; empty where its file has none."""
    links = device.links
    usable = f"{device.usable_bytes / GIBI:,.1f}{'*' if device.usable_assumed else ''}"
    return (
        device.name,
        *(_figure(device.peaks.get(kind), TERA) for kind in ("bf16", "fp8", "fp4", "int8")),
        _figure(device.cuda_flops_per_s, TERA),
        _figure(device.bytes_per_s, GIGA),
        _figure(device.memory_bytes, GIGA),
        usable,
        _figure(links and links.bytes_per_s, GIGA),
        f"{links.devices_a_node}" if links else "",
        _figure(links and links.network_bytes_per_s, GIGA),
        _figure(device.watts, 1),
    )


def _figure(value: float | None, unit: float) -> str:
    """Return a figure in its unit; empty where it is None."""
    if value is None:
        return ""
    return f"{value / unit:,.0f}" if value / unit >= _WHOLE else f"{value / unit:,g}"
