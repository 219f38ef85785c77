import datetime
import json

import numpy as np
import polars as pl
import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.formulas.queues import Waiting
from sweepengine.grid.lengths import Arrivals
from sweepengine.search.load import LOAD, Replica, load_of
from sweepengine.search.options import LatencyTargets
from sweepengine.search.requests import lengths_of_frame, read_lengths

MODEL = load_model("llama-3.1-8b")
TARGETS = LatencyTargets(2.0, 0.05)
REPLICA = Replica(64, 8.0, 2, np.array([0.5, 1.5]), np.array([4.0, 12.0]), np.array([0.5, 0.5]),
                  0.04)  # fmt: skip


def test_replicas_are_the_least_that_reach_the_attainment():
    arrivals = Arrivals((3600, 360_000, 0, 36_000), 1800.0)
    load = load_of(arrivals, REPLICA, TARGETS, 0.95)
    assert {*load.hours.columns} == {*LOAD}
    for row in load.hours.to_dicts():
        rate, count = row["requests_per_s"], row["replicas"]
        if not rate:
            assert count == row["devices"] == 0
            continue
        assert row["attainment"] >= 0.95
        assert count * REPLICA.requests_per_s > rate
        if (count - 1) * REPLICA.requests_per_s > rate:
            fewer = REPLICA.attained(REPLICA.waiting(count - 1, rate), TARGETS)
            assert fewer < 0.95
    assert load.hours["requests_per_s"].to_list() == [1.0, 100.0, 0.0, 20.0]
    used = load.hours["devices"].to_list()
    assert load.device_hours == sum(used[:3]) + used[3] / 2
    assert load.peak_device_hours == max(used) * 3.5
    assert load.device_hours_a_day == pytest.approx(load.device_hours / 3.5 * 24)
    assert load.hours["goodput"].sum() <= load.hours["requests_per_s"].sum()


def test_lengths_that_miss_a_target_alone_cannot_be_mended_by_replicas():
    slow = REPLICA._replace(ttft=np.array([0.5, 5.0]))
    row = load_of(Arrivals((7200,), 3600.0), slow, TARGETS, 0.95).hours.row(0, named=True)
    assert row["attainment"] == pytest.approx(0.5, abs=1e-5)
    assert row["replicas"] < 5
    late = REPLICA._replace(tpot=0.06)
    assert late.attained(Waiting(0.0, 0.0), TARGETS) == 0.0


def test_little_and_the_spread_of_lengths_make_the_queue():
    assert REPLICA.held == 8.0
    assert REPLICA.square == pytest.approx(0.25)


def test_traces_of_mooncake_and_azure_are_read_as_they_are(tmp_path):
    mooncake = tmp_path / "mooncake.jsonl"
    rows = [{"timestamp": 1000 * at, "input_length": 100 + at, "output_length": 10,
             "hash_ids": [1, at]} for at in (0, 30, 3700)]  # fmt: skip
    mooncake.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_lengths(mooncake, MODEL)
    assert found.arrivals.counts == (2, 1)
    assert found.arrivals.last_seconds == pytest.approx(100.0)
    assert sorted(found.column("prompt_tokens", MODEL)) == [100, 130, 3800]
    assert "prefixes are not used" in found.arrivals.notes[0]
    azure = tmp_path / "azure.csv"
    azure.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                     "2023-11-16 18:15:46.6805900,374,44\n"
                     "2023-11-16 18:45:46.6805900,396,109\n")  # fmt: skip
    found = read_lengths(azure, MODEL)
    assert found.arrivals.counts == (2,)
    assert found.arrivals.last_seconds == pytest.approx(1800.0)
    assert sorted(found.column("decode_steps", MODEL)) == [44, 109]


def test_timestamps_are_seconds_or_dates():
    start = datetime.datetime(2026, 1, 1)
    dates = [start, start + datetime.timedelta(hours=2)]
    for times in ([0.0, 7200.0], dates):
        frame = pl.DataFrame({"timestamp": times, "prompt": [10, 20]})
        assert lengths_of_frame("x", MODEL, frame).arrivals.counts == (1, 0, 1)
    assert lengths_of_frame("x", MODEL, pl.DataFrame({"prompt": [10]})).arrivals is None


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (["soon", "later"], "timestamp: expected seconds, or a date and time, found 'soon'"),
        ([0.0, None], r"timestamp\[1\] is empty"),
        ([0.0, float("inf")], "expected seconds"),
        ([0.0, 1e12], "expected at most 8,784"),
        ([True, False], "found Boolean"),
    ],
)
def test_wrong_timestamps_are_named(times, said):
    frame = pl.DataFrame({"timestamp": times, "prompt": [10, 20]})
    with pytest.raises(InputError, match=said):
        lengths_of_frame("x", MODEL, frame)


def test_deploy_answers_replicas_by_the_hour(tmp_path, command):
    trace = tmp_path / "trace.csv"
    times = [*np.linspace(0, 3599, 100), *np.linspace(3600, 7200, 60_000)]
    pl.DataFrame({"timestamp": times, "prompt": [2000] * len(times),
                  "answer": [200] * len(times)}).write_csv(trace)  # fmt: skip
    asked = ["deploy", "llama-3.1-8b", "--device", "h100-sxm", "--devices", "1", "--precision",
             "checkpoint", "--layout", "tp1", "--lengths", trace]  # fmt: skip
    load = json.loads(command(*asked, "--json").stdout)["load"]
    quiet, busy = load["hours"][:2]
    assert quiet["replicas"] == 1
    assert busy["replicas"] > 1
    assert min(quiet["attainment"], busy["attainment"]) >= 0.95
    text = command(*asked).stdout
    assert "M/G/c queue (Kimura)" in text
    assert "Replicas of the best plan by the hour" in text


def test_spaces_around_names_and_numbers_of_csv_are_left_out(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("prompt, answer ,weight\n300, 70, 0.5\n 400 ,80 ,1\n")
    spaced = read_lengths(path, load_model("llama-3.1-8b"))
    path.write_text("prompt,answer,weight\n300,70,0.5\n400,80,1\n")
    plain = read_lengths(path, load_model("llama-3.1-8b"))
    assert spaced.values.tolist() == plain.values.tolist()
