import pytest

import sweepengine as se
from sweepengine.data.files import known

DEVICES = {"rtx-5090", "rtx-4090", "l40s", "a100-80gb", "h20", "h100-sxm", "h200", "b200", "mi300x"}
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
