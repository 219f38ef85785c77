import json

import polars as pl
import pytest

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.data.power import power_curves
from sweepengine.data.prices import price_lists
from sweepengine.search.money import joules_per_token, power_share, prices_of, usd_per_million

R1 = "deepseek-v3"
RUNS = [  # input and output tokens, output tokens/s a device, average W a device; mi355x, SGLang
    (1024, 1024, 172.46, 627.531),
    (1024, 1024, 402.885, 719.532),
    (8192, 1024, 135.499, 719.751),
    (8192, 1024, 281.128, 923.661),
]


def test_every_price_has_a_device_a_day_and_a_page():
    for listed in price_lists().values():
        assert {*listed.usd} <= {*known("devices")}
        assert all(0 < usd < 100 for usd in listed.usd.values())
        assert listed.date.count("-") == 2
        assert listed.source.startswith("https://")
        assert listed.date in listed.stated


def test_given_prices_come_before_those_of_a_list():
    names = ["h100-sxm", "b200", "l4"]
    found = prices_of("x", {"h100-sxm": 1.0}, "lambda", names)
    assert found == {"h100-sxm": 1.0, "b200": price_lists()["lambda"].usd["b200"]}
    assert prices_of("x", {}, None, names) == {}
    with pytest.raises(InputError, match="x: price of a10: expected one of h100-sxm"):
        prices_of("x", {"a10": 1.0}, "lambda", names)


def test_power_by_load_is_that_of_the_measured_runs():
    device, model = load_device("mi355x"), load_model(R1)
    for prompt, answer, tokens, watts in RUNS:
        worked = tokens * (1 + prompt / answer)
        share = power_share(device, model, worked, None)
        assert share * device.watts == pytest.approx(watts, rel=0.09)
    assert power_share(device, model, 1e9, None) == 1.0
    assert power_share(device, model, 0.0, 0.1) == 0.1
    assert power_share(load_device("h100-sxm"), model, 100.0, None) == 1.0
    assert {*power_curves()} <= {*known("devices")}


def test_numbers_and_columns_follow_one_rule():
    frame = pl.DataFrame({"usd": [3.6], "tokens": [1000.0]})
    assert frame.select(usd_per_million(pl.col("usd"), pl.col("tokens"))).item() == 1.0
    assert usd_per_million(3.6, 1000.0) == 1.0
    assert joules_per_token(1400.0, 100.0, 1.5) == 21.0


def test_deploy_states_prices_and_measured_energy(command):
    asked = ["deploy", "llama-3.1-8b", "--device", "mi355x", "--devices", "1", "--json",
             "--price", "mi355x=3", "--batch", "4", "--prompt", "100",
             "--answer", "2000"]  # fmt: skip
    found = json.loads(command(*asked).stdout)
    best = found["best"]
    assert 0 < best["measured_joules_per_token"] < best["joules_per_token"]
    assert any("median error 1.3 %" in text for text in found["assumed"])
    more = json.loads(command(*asked, "--pue", "1.5").stdout)["best"]
    assert more["measured_joules_per_token"] == pytest.approx(
        1.5 * best["measured_joules_per_token"]
    )
    listed = ["deploy", "llama-3.1-8b", "--device", "h100-sxm", "--devices", "1", "--json"]
    found = json.loads(command(*listed, "--price-list", "hyperstack").stdout)
    assert found["best"]["usd_per_hour"] == 3.2
    assert found["best"]["measured_joules_per_token"] is None
    assert any("https://www.hyperstack.cloud/gpu-pricing" in text for text in found["assumed"])
    done = command(*listed, "--device", "l4", "--price-list", "hyperstack")
    assert done.returncode == 2
    assert "l4 has no price" in done.stderr


def test_lists_are_printed_with_their_pages(command):
    text = command("devices", "--prices").stdout
    assert "https://lambda.ai/instances" in text
    assert "2026-08-26" in text
    facts = json.loads(command("devices", "--prices", "--json").stdout)
    assert facts["aws"]["usd"]["h100-sxm"] == 6.88
