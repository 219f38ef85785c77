import pytest

import sweepengine as se
from sweepengine.costs.peaks import HEADER, TITLE, row_of_device
from sweepengine.data.devices import GIBI, GIGA, load_devices
from sweepengine.data.files import known
from sweepengine.data.speeds import with_figures
from sweepengine.formulas.points import Point

DEVICES = {"rtx-5090", "rtx-5080", "rtx-4090", "rtx-4080", "rtx-3090", "rtx-pro-6000",
           "rtx-6000-ada", "rtx-a5000", "l4", "l40s", "t4", "a10", "a30", "a40", "v100-32gb",
           "a100-40gb", "a100-80gb", "a800-80gb", "h20", "h100-pcie", "h100-sxm", "h800", "h200",
           "h200-nvl", "b200", "b300", "gb200", "gb300", "mi300x", "mi325x", "mi350x", "mi355x",
           "gaudi-3"}  # fmt: skip
OWN = """
schema_version = 1
name = "own"
[tensor_bf16]
value = 100
unit = "TFLOP/s"
source = "mine"
[cuda_fp32]
value = 10.5
unit = "TFLOP/s"
source = "mine"
[bandwidth]
value = 1000
unit = "GB/s"
source = "mine"
[memory]
value = 16
unit = "GB"
source = "mine"
"""


def test_shipped_devices_load_and_name_the_source_of_every_figure():
    assert set(known("devices")) == DEVICES
    for name in DEVICES:
        device = se.load_device(name)
        assert device.name == name
        assert all(device.sources.values())
        assert device.tensor_flops_per_s > device.cuda_flops_per_s > device.bytes_per_s


def test_usable_bytes_are_at_most_the_data_sheets_figure_in_gib():
    for name in DEVICES:
        device = se.load_device(name)
        share = device.usable_bytes / (device.memory_bytes / GIGA * GIBI)
        assert 0.9 < share <= 1
        assert device.usable_assumed == ("usable" not in device.sources)
        assert (share == 1) or not device.usable_assumed


GIB_OF_PUBLIC_LOGS = {"a100-40gb": 39.39, "a100-80gb": 79.2, "h100-sxm": 79.2, "h200": 139.81,
                      "b200": 178.35, "mi300x": 191.98, "rtx-pro-6000": 94.97, "rtx-5090": 31.36,
                      "l4": 22.03, "l40s": 44.42, "rtx-3090": 23.57, "rtx-a5000": 23.57,
                      "rtx-5080": 15.48, "h200-nvl": 139.8, "t4": 14.56, "v100-32gb": 31.73,
                      "a10": 22.06, "mi350x": 287.98}  # fmt: skip


def test_usable_bytes_are_those_of_public_logs():
    for name, expected in GIB_OF_PUBLIC_LOGS.items():
        assert se.load_device(name).usable_bytes / GIBI == pytest.approx(expected, abs=0.006)
    assert se.load_device("a100-40gb").usable_bytes == 42_297_786_368


USABLE = (
    OWN
    + """
[usable]
value = 16_500_000_001
unit = "byte"
source = "my log"
"""
)


def test_usable_bytes_are_stated_or_assumed(grid_file):
    assumed = se.load_device(grid_file(OWN, "own.toml"))
    assert (assumed.usable_bytes, assumed.usable_assumed) == (16 * GIBI, True)
    stated = se.load_device(grid_file(USABLE, "stated.toml"))
    assert (stated.usable_bytes, stated.usable_assumed) == (16_500_000_001, False)
    assert (stated.memory_bytes, stated.sources["usable"]) == (16_000_000_000, "my log")


def test_memory_of_a_point_replaces_the_data_sheets_and_the_usable_bytes(grid_file):
    device = se.load_device(grid_file(OWN, "own.toml"))
    point = Point(1024, 640, 0, 0, 10, 100, 1, 10, 10, 1)
    assert with_figures(device, point) == device
    for thousandths in (1, 1_001, 24_000, 31_361):
        replaced = with_figures(device, point._replace(device_memory_gb=thousandths))
        assert replaced.memory_bytes == replaced.usable_bytes == thousandths * 10**6
        assert not replaced.usable_assumed


def test_table_of_devices_shows_usable_gib_and_marks_assumed_ones(grid_file):
    column = HEADER.index("GiB")
    shown = row_of_device(se.load_device("h100-sxm"))
    assert (shown[column - 1], shown[column]) == ("80", "79.2")
    assert row_of_device(se.load_device(grid_file(OWN, "own.toml")))[column] == "16.0*"


def test_table_of_devices_fits_a_terminal_of_80_characters():
    rows = [row_of_device(se.load_device(name)) for name in DEVICES]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    assert sum(widths) + len(widths) - 1 <= 80
    assert max(map(len, TITLE.splitlines())) <= 80


def test_file_of_the_users_own_loads(grid_file):
    device = se.load_device(grid_file(OWN, "own.toml"))
    assert device.tensor_flops_per_s == 100e12
    assert device.cuda_flops_per_s == 10.5e12
    assert device.bytes_per_s == 1e12
    assert device.memory_bytes == 16_000_000_000


BAD = {
    "unit": (OWN.replace("GB/s", "TB/s"), "bandwidth.unit: Input should be 'GB/s'"),
    "zero": (OWN.replace("value = 16", "value = 0"), "memory.value"),
    "text": (OWN.replace("value = 16", 'value = "16"'), "memory.value"),
    "missing": (OWN.replace('source = "mine"', "", 1), "tensor_bf16.source: required key"),
    "unknown": (OWN + "price = 3\n", "memory.price: unknown key"),
    "usable unit": (USABLE.replace('"byte"', '"GB"'), "usable.unit: Input should be 'byte'"),
    "usable fraction": (USABLE.replace("_001", "_001.5"), "usable.value"),
    "usable zero": (USABLE.replace("16_500_000_001", "0"), "usable.value"),
    "usable without source": (USABLE.replace('source = "my log"', ""), "usable.source: required"),
    "more usable than there is": (
        USABLE.replace("16_500_000_001", "17_179_869_185"),
        "usable.value: 17,179,869,185 bytes: expected at most 17,179,869,184, "
        "which is memory.value = 16 in GiB",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_names_the_key(grid_file, case):
    text, expected = BAD[case]
    with pytest.raises(se.InputError, match=r"own\.toml: ") as caught:
        se.load_device(grid_file(text, "own.toml"))
    assert expected in str(caught.value)


def test_unknown_device_names_the_known():
    with pytest.raises(se.InputError, match=r'device "h100" does not exist.*h100-sxm'):
        se.load_device("h100")


def test_peaks_by_format_links_and_power_are_those_of_the_file():
    h100, a100, ours = se.load_device("h100-sxm"), se.load_device("a100-80gb"), se.load_device("l4")
    assert h100.peaks == {"bf16": 989.4e12, "fp8": 1978.9e12, "int8": 1978.9e12}
    assert "fp8" not in a100.peaks
    assert se.load_device("b200").peaks["fp4"] == 9e15
    assert h100.links.bytes_per_s == 450e9
    assert h100.links.network_bytes_per_s == 50e9
    assert (h100.links.devices_a_node, h100.links.latency_s) == (8, pytest.approx(1e-5))
    assert (h100.watts, ours.watts) == (700, 72)
    assert se.load_device("gb200").links.devices_a_node == 72


def test_peaks_of_a_file_are_all_dense():
    for name in DEVICES:
        peaks = se.load_device(name).peaks
        ratio = peaks.get("fp8", 2 * peaks["bf16"]) / peaks["bf16"]
        assert ratio == pytest.approx(2, rel=0.02) or (name, ratio) == ("gaudi-3", 1)
    assert se.load_device("a800-80gb").peaks == se.load_device("a100-80gb").peaks
    assert se.load_device("rtx-3090").peaks == {"bf16": 71e12, "int8": 284e12}


def test_borrowed_rates_are_of_a_measured_device_and_need_multiprocessors():
    borrowing = [device for name in DEVICES if (device := se.load_device(name)).like is not None]
    assert borrowing
    for device in borrowing:
        source = se.load_device(device.like)
        assert se.load_device(source.like or source).measured is not None
        assert device.multiprocessors is not None


def test_cards_without_bf16_tensor_cores_say_that_the_peak_is_of_fp16():
    for name, peak in (("t4", 65e12), ("v100-32gb", 125e12)):
        device = se.load_device(name)
        assert device.peaks["bf16"] == peak
        assert "FP16" in device.sources["tensor_bf16"]
        assert "do not support bf16" in device.sources["tensor_bf16"]


LINKED = (
    OWN
    + """
[link]
value = 32
unit = "GB/s"
source = "mine"
[link_latency]
value = 4
unit = "us"
source = "mine"
[devices_a_node]
value = 2
unit = "devices"
source = "mine"
"""
)


def test_own_links_need_latency_and_node_and_no_network(grid_file):
    assert se.load_device(grid_file(OWN, "own.toml")).links is None
    links = se.load_device(grid_file(LINKED, "own.toml")).links
    assert links == (2, 32e9, pytest.approx(4e-6), None, pytest.approx(4e-6))
    less = LINKED.replace("[link_latency]", "[network]").replace('"us"', '"GB/s"')
    with pytest.raises(
        se.InputError, match="link_latency: required key is missing, as link is given"
    ):
        se.load_device(grid_file(less, "own.toml"))
    alone = OWN + LINKED[LINKED.index("[devices_a_node]") :]
    with pytest.raises(se.InputError, match="link: required key is missing"):
        se.load_device(grid_file(alone, "own.toml"))


def test_two_devices_of_one_name_are_refused(grid_file):
    own = grid_file(OWN.replace('"own"', '"l4"'), "l4.toml")
    copy = grid_file(known("devices")["l4"].read_text(), "copy.toml")
    assert len(load_devices(["l4", str(copy), "l4", "h200"], "fit")) == 2
    with pytest.raises(se.InputError, match=r'fit: device "l4": two different devices have this'):
        load_devices(["l4", str(own)], "fit")
