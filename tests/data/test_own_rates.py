"""Rates that a user measured, named by a device's file."""

import re

import pytest

import sweepengine as se
from sweepengine.data.basis import basis
from sweepengine.data.files import known
from sweepengine.data.rates import shipped_rates
from sweepengine.data.speeds import timing_target
from sweepengine.grid.files import parse_grid

POINT = {"prompt_tokens": 1000, "decode_steps": 100, "batch_size": 4}


@pytest.fixture
def mine(tmp_path):
    """A device like H100 whose rates lie beside its file."""

    def write(slower=1.0, framework="vllm"):
        text = known("devices")["h100-sxm"].read_text().split("[rates]")[0]
        text = text.replace('name = "h100-sxm"', 'name = "mine"')
        (tmp_path / "mine.toml").write_text(f'{text}[rates]\nfiles = ["rates/own.toml"]\n')
        rates = shipped_rates()["h100-sxm", "vllm"].read_text()
        rates = rates.replace('device = "h100-sxm"', 'device = "mine"')
        rates = rates.replace('framework = "vllm"', f'framework = "{framework}"')
        launch = re.compile(r"\blaunch = ([0-9.e+-]+)")
        assert launch.search(rates)
        rates = launch.sub(lambda found: f"launch = {float(found[1]) * slower!r}", rates)
        (tmp_path / "rates").mkdir(exist_ok=True)
        (tmp_path / "rates" / "own.toml").write_text(rates)
        return tmp_path / "mine.toml"

    return write


def test_rates_beside_a_device_are_its_own(mine):
    device = mine()
    theirs = se.cost("llama-3.1-8b", device="h100-sxm", **POINT)
    ours = se.cost("llama-3.1-8b", device=device, **POINT)
    assert ours["tpot_seconds"] == theirs["tpot_seconds"]
    place = timing_target(se.load_device(device))
    said = basis(se.load_model("llama-3.1-8b").architecture, place, False)
    assert said.startswith("mine, vllm")
    assert "borrowed" not in said


def test_file_that_changes_is_read_again_and_changes_the_grids_hash(mine):
    def seen():
        device = mine_file
        axes = {"device": [str(device)], "batch_size": [1]}
        grid = parse_grid({"name": "g", "model": "llama-3.1-8b", "axes": axes}, "g")
        return se.cost("llama-3.1-8b", device=device, **POINT)["tpot_seconds"], grid.hash

    mine_file = mine()
    first = seen()
    mine(slower=3.0)
    second = seen()
    assert second[0] > first[0]
    assert second[1] != first[1]
    mine()
    assert seen() == first


def test_rates_of_no_framework_or_no_file_are_named(mine):
    device = mine(framework="nope")
    with pytest.raises(se.InputError, match=r'own\.toml: framework = "nope": expected one of vllm'):
        se.cost("llama-3.1-8b", device=device, **POINT)
    (device.parent / "rates" / "own.toml").unlink()
    with pytest.raises(se.InputError, match=r"own\.toml: "):
        se.cost("llama-3.1-8b", device=device, **POINT)
