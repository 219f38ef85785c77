import json
import subprocess
import sys

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.grid.lengths import lengths_of
from sweepengine.search.fit import CONTEXTS, find_fit
from sweepengine.search.options import EngineOptions, FitOptions, LatencyTargets
from sweepengine.show.terminal import three_digits
from tests.search.by_hand import Requests, formats_of, room_of, served
from tests.search.test_steady_state import table_of

MODEL = "llama-3.1-8b"
ONE = Requests(4000, 500, 1.0)


def fitted(*devices, model=MODEL, table=None, **wanted):
    table = table or {"prompt": [ONE.prompt], "answer": [ONE.answer]}
    return find_fit(
        model, devices, lengths_of("test", load_model(model), table), FitOptions(**wanted)
    )


def test_card_is_what_single_costs_say():
    (card,) = fitted("h100-sxm").cards
    assert (card.layout, card.devices, card.fits) == ("tp1", 1, True)
    assert card.served["batch_size"].to_list() == [1, 8, 64, card.served["largest_batch"][0]]
    assert card.served["meets"].all()
    inputs = formats_of(MODEL, "checkpoint", "tp1")
    for row in card.served.to_dicts():
        wanted = served(MODEL, "h100-sxm", [ONE], row["batch_size"], inputs)
        for name in ("ttft_s", "tpot_s", "tokens_per_s"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-9), name
        assert (row["memory_bytes"], row["weight_bytes"]) == (
            wanted["memory_bytes"], wanted["weight_bytes"])  # fmt: skip
    for tokens, most in card.largest.items():
        inside, beyond = (
            served(MODEL, "h100-sxm", [Requests(tokens - 1, 1, 1.0)], batch, inputs)
            for batch in (most, most + 1)
        )
        assert inside["memory_bytes"] <= room_of("h100-sxm") < beyond["memory_bytes"]
    assert tuple(card.largest) == CONTEXTS


def test_model_too_large_for_one_takes_the_fewest_devices_that_hold_it():
    (card,) = fitted("h100-sxm", model="llama-3.1-70b").cards
    assert (card.layout, card.devices) == ("pp2", 2)
    few = EngineOptions(max_sequences=64)
    (card,) = fitted("h100-sxm", model="llama-3.1-70b", engine=few).cards
    assert (card.layout, card.devices) == ("tp2", 2)
    assert card.served["largest_batch"][0] <= 64
    (own,) = fitted("h100-sxm", model="llama-3.1-70b", layout="tp8").cards
    assert (own.layout, own.devices) == ("tp8", 8)


def test_model_that_does_not_fit_says_so():
    (card,) = fitted("l4", model="llama-3.1-405b").cards
    assert not card.fits
    assert card.served.height == 1
    assert set(card.largest.values()) == {0}


def test_parts_add_up_to_the_ttft_and_the_tpot_of_the_batch_answered():
    for card in fitted("h100-sxm", "l4", users=4).cards:
        row = card.answered
        assert row["batch_size"] == 4
        assert sum(card.parts.ttft.values()) == pytest.approx(row["ttft_s"], rel=1e-9)
        assert sum(card.parts.tpot.values()) == pytest.approx(row["tpot_s"], rel=1e-9)
        largest = max(card.parts.tpot.values()) / row["tpot_s"]
        assert card.parts.limits["TPOT"][1] == pytest.approx(largest, rel=1e-9)


def test_answer_is_the_largest_batch_within_the_targets():
    targets = LatencyTargets(2.0, 0.02)
    (card,) = fitted("h100-sxm", targets=targets).cards
    batch = card.verdict.batch
    assert card.verdict.yes
    assert 8 < batch < card.served["largest_batch"][0]
    inputs = formats_of(MODEL, "checkpoint", "tp1")
    inside, beyond = (
        served(MODEL, "h100-sxm", [ONE], size, inputs)["tpot_s"] for size in (batch, batch + 1)
    )
    assert inside <= 0.02 < beyond
    meets = dict(card.served.select("batch_size", "meets").rows())
    assert meets == {1: True, 8: True, batch: True, 64: False, 99: False}


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        ({"users": 40}, (True, 40, "")),
        ({"users": 400}, (False, 99, "99 fit at once")),
        ({"rate": 2.0}, (True, 11, "")),
        ({"rate": 2.0, "users": 20}, (True, 20, "")),
        ({"rate": 200.0}, (False, 99, "at most 4.7 requests/s")),
        ({"users": 64, "targets": LatencyTargets(0.5, 1.0)}, (False, 64, "TTFT 533.3 ms at 64")),
        ({"targets": LatencyTargets(0.1, 1.0)}, (False, 1, "TTFT 139.1 ms at 1")),
        ({"targets": LatencyTargets(9.0, 0.005)}, (False, 1, "TPOT 6.5 ms at 1")),
    ],
)
def test_answer_is_yes_or_no_with_the_concurrency_or_the_reason(wanted, verdict):
    (card,) = fitted("h100-sxm", **wanted).cards
    assert card.verdict == verdict
    row = card.answered
    if "rate" in wanted and verdict[0]:
        assert row["requests_per_s"] >= wanted["rate"]
    if "rate" in wanted and "users" not in wanted and verdict[0]:
        inputs = formats_of(MODEL, "checkpoint", "tp1")
        fewer = served(MODEL, "h100-sxm", [ONE], verdict[1] - 1, inputs)
        assert fewer["requests_per_s"] < wanted["rate"]


def test_share_of_the_memory_decides_how_many_requests_fit():
    most = [fitted("h100-sxm", engine=EngineOptions(memory_share=part)).cards[0].largest[8192]
            for part in (0.5, 0.7, 0.9)]  # fmt: skip
    assert most == sorted(most)
    assert most[0] < most[2]
    with pytest.raises(InputError, match="fit: --memory-share 2: expected above 0, at most 1"):
        fitted("h100-sxm", engine=EngineOptions(memory_share=2.0))


def test_python_says_the_same():
    frame = se.fit(MODEL, ["h100-sxm", "l4"], {"prompt": 4000, "answer": 500})
    cards = fitted("h100-sxm", "l4").cards
    for card in cards:
        mine = frame.filter(pl.col("device") == card.device.name)
        assert mine["tokens_per_s"].to_list() == card.served["tokens_per_s"].to_list()
        assert mine["fits"].all()


def test_json_holds_what_the_card_shows(command):
    done = command("fit", MODEL, "--device", "h100-sxm", "--prompt", 4000, "--json")
    facts = json.loads(done.stdout)
    assert facts["cards"][0]["device"] == "h100-sxm"
    assert facts["cards"][0]["largest"]["8192"] > 0


def test_card_is_short_and_names_its_basis_and_a_command_that_verifies(command):
    done = command("fit", "deepseek-ocr-3b", "--device", "a100-40gb", "--device", "h100-sxm",
                   "--device", "l4", "--mode", "gundam:2x3", "--answer", 1000)  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) <= 84
    assert max(len(line) for line in lines if not line.startswith("verify: ")) <= 80
    assert "pages/day" in done.stdout
    assert done.stdout.count("operators +-") == 3
    checking = next(line for line in lines if line.startswith("verify: "))
    again = command(*checking.removeprefix("verify: sweepengine ").split())
    assert again.returncode == 0, again.stderr
    card = fitted("a100-40gb", model="deepseek-ocr-3b",
                  table={"mode": ["gundam:2x3"], "answer": [1000]}).cards[0]  # fmt: skip
    row = card.answered
    assert row["meets"]
    assert f"TTFT {three_digits(row['ttft_s'] * 1000)} ms" in again.stdout
    assert f"TPOT {three_digits(row['tpot_s'] * 1000)} ms" in again.stdout
    assert f"KV pool: {row['kv_pool_tokens']:,} tokens; the batch fits" in again.stdout
    ttft, tpot = (three_digits(row[name] * 1000) for name in ("ttft_s", "tpot_s"))
    shown = f"{row['batch_size']}: {ttft}, {tpot} *"
    assert shown in done.stdout


def test_small_question_needs_no_compiler():
    code = (
        "import sys; from sweepengine.cli import main; sys.argv = ['sweepengine', 'fit', "
        "'llama-3.1-8b', '--device', 'h100-sxm']; main(); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_trace_is_read_from_a_file(tmp_path, command):
    path = tmp_path / "trace.csv"
    path.write_text("prompt,answer,weight\n100,50,3\n9000,20,1\n")
    done = command("fit", MODEL, "--device", "h100-sxm", "--lengths", path)
    assert done.returncode == 0, done.stderr
    assert f"2lengthsfrom{path}" in "".join(done.stdout.split())
    assert "KV MB: p50, p95, p99" in done.stdout


def test_percentiles_of_a_trace_are_those_of_single_costs():
    mix = [Requests(300, 400, 5.0), Requests(4000, 100, 3.0), Requests(20_000, 60, 1.0)]
    (card,) = fitted("h100-sxm", table=table_of(mix)).cards
    batch = card.verdict.batch
    whole = served(MODEL, "h100-sxm", mix, batch, formats_of(MODEL, "checkpoint", "tp1"))
    mean = card.requests.row(-1, named=True)
    assert mean["ttft_s"] == pytest.approx(whole["ttft_mean_s"])
    assert mean["device_seconds"] == pytest.approx(1 / whole["requests_per_s"])
    latency = whole["ttft_mean_s"] + whole["output"] * whole["tpot_s"]
    assert mean["latency_s"] == pytest.approx(latency)
    assert card.requests["cache_bytes"][0] < card.requests["cache_bytes"][3]


def test_searches_take_values_and_read_no_grid_files():
    code = (
        "import sys, sweepengine as se\n"
        "model, device = se.load_model('llama-3.1-8b'), se.load_device('h100-sxm')\n"
        "by_value = se.fit(model, device, {'prompt': 100})\n"
        "assert by_value.equals(se.fit('llama-3.1-8b', 'h100-sxm', {'prompt': 100}))\n"
        "se.deploy(model, device, {'prompt': 100}, layouts=['tp1'], most_batch=2, ttft=9, tpot=9)\n"
        "assert 'sweepengine.grid.files' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
