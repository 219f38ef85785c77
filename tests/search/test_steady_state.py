from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sweepengine as se
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import timing_target
from sweepengine.engine import lazy
from sweepengine.grid.grid import with_lengths
from sweepengine.grid.lengths import condensed, lengths_of, quantile
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.options import EngineOptions, ServingAssumptions
from sweepengine.search.placements import (
    batches_of,
    group_limit,
    layouts_of,
    precisions_of,
    read_layouts,
    read_precisions,
    search_grid,
)
from sweepengine.search.steady_state import ASSUMED, served_frames
from tests.search.by_hand import Requests, formats_of, served

MIX = [Requests(300, 400, 5.0), Requests(4000, 100, 3.0), Requests(20_000, 60, 1.0)]


def table_of(mix):
    return {
        "prompt": [one.prompt for one in mix],
        "answer": [one.answer for one in mix],
        "weight": [one.weight for one in mix],
    }


def swept(
    model, device, mix, precisions, layouts, batches, setting=ASSUMED, times=None,
    framework="vllm", **more
):  # fmt: skip
    loaded = load_model(model)
    lengths = lengths_of("test", loaded, table_of(mix))
    place = timing_target(load_device(device), framework, times)
    axes = {
        "precision": list(read_precisions("test", loaded, precisions)),
        "layout": read_layouts("test", loaded, layouts),
        "batch_size": batches,
        **more,
    }
    return pl.concat(served_frames(search_grid(loaded, place, axes, lengths), place, setting))


@pytest.mark.parametrize("mix", [MIX[:1], MIX], ids=["alike", "mixed"])
@pytest.mark.parametrize(
    ("model", "layouts"),
    [("llama-3.1-8b", ["tp1", "tp2"]), ("qwen3-30b-a3b", ["tp2", "ep4-dp4"])],
)
def test_candidates_are_what_single_costs_say(model, layouts, mix):
    precisions, batches = ["checkpoint", "fp8-kv8"], [1, 7, 64]
    found = swept(model, "h100-sxm", mix, precisions, layouts, batches)
    assert found.height == len(precisions) * len(layouts) * len(batches)
    rows = iter(found.to_dicts())
    for precision in precisions:
        for layout in layouts:
            inputs = formats_of(model, precision, layout)
            for batch in batches:
                row = next(rows)
                wanted = served(model, "h100-sxm", mix, batch, inputs)
                for name in set(wanted) - {"output", "memory_bytes"}:
                    assert row[name] == pytest.approx(wanted[name], rel=1e-9), name
                assert row["memory_bytes"] == pytest.approx(wanted["memory_bytes"], rel=1e-9)
                assert row["batch_size"] == batch


def test_layouts_of_one_search_wait_for_ranks_only_where_there_are_several():
    layouts, batches, one = ["tp8-ep8", "dp8-ep8"], [8, 16, 64], Requests(2000, 300, 1.0)
    found = swept("deepseek-v3", "h200", [one], ["checkpoint"], layouts, batches,
                  framework="trtllm")  # fmt: skip
    for row, (layout, batch) in zip(found.to_dicts(), product(layouts, batches), strict=True):
        cost = se.cost("deepseek-v3", device="h200", framework="trtllm", layout=layout,
                       batch_size=batch, prompt_tokens=2000, decode_steps=300)  # fmt: skip
        assert row["ttft_s"] == pytest.approx(cost["ttft_seconds"], rel=1e-9)
    waits = dict(zip(product(layouts, batches), found["ttft_s"], strict=True))
    assert waits["dp8-ep8", 64] > 2 * waits["tp8-ep8", 64]
    assert waits["dp8-ep8", 16] > 2 * waits["dp8-ep8", 8]  # of one request a rank, none waits


def test_largest_batch_fits_and_one_more_does_not():
    (row,) = swept("llama-3.1-8b", "h100-sxm", MIX, ["checkpoint"], ["tp1"], [1]).to_dicts()
    most = row["largest_batch"]
    two = swept("llama-3.1-8b", "h100-sxm", MIX, ["checkpoint"], ["tp1"], [most, most + 1])
    room = two["room_bytes"][0]
    assert two["memory_bytes"].to_list()[0] <= room < two["memory_bytes"].to_list()[1]
    assert two["fits"].to_list() == [True, False]
    assert room == 78_238_640_000  # 92 % of what the driver reports of 80 GB


def test_share_of_all_holds_for_the_longest_request_and_the_largest_cache():
    (most,) = swept("llama-3.1-8b", "h100-sxm", MIX, ["checkpoint"], ["tp1"], [8],
                    ServingAssumptions(share=1.0)).to_dicts()  # fmt: skip
    (half,) = swept("llama-3.1-8b", "h100-sxm", MIX, ["checkpoint"], ["tp1"], [8],
                    ServingAssumptions(share=0.5)).to_dicts()  # fmt: skip
    longest = served("llama-3.1-8b", "h100-sxm", MIX[-1:], 8,
                     formats_of("llama-3.1-8b", "checkpoint", "tp1"))  # fmt: skip
    assert most["prefill_share_s"] == pytest.approx(longest["prefill_s"])
    assert half["ttft_s"] < most["ttft_s"]
    assert half["memory_bytes"] < most["memory_bytes"]
    assert half["tpot_s"] == most["tpot_s"]


def test_requests_that_decode_nothing_have_no_tpot_and_still_a_rate():
    found = swept("llama-3.1-8b", "h100-sxm", [Requests(1000, 0, 1.0)], ["checkpoint"], ["tp1"],
                  [1, 16])  # fmt: skip
    assert found["tpot_s"].to_list() == [None, None]
    assert found["user_tokens_per_s"].null_count() == 2
    assert (found["requests_per_s"] > 0).all()
    assert (found["tokens_per_s"] == 0).all()


def test_lengths_beyond_a_chunk_are_folded_whole(monkeypatch):
    mix = [Requests(100 + i, 10 + i % 7, 1.0 + i % 3) for i in range(100)]
    whole = swept("llama-3.1-8b", "h100-sxm", mix, ["checkpoint"], ["tp1"], [1, 8, 32])
    for module in (lazy, __import__("sweepengine.search.steady_state", fromlist=["x"])):
        monkeypatch.setattr(module, "CHUNK_ROWS", 64)
    split = swept("llama-3.1-8b", "h100-sxm", mix, ["checkpoint"], ["tp1"], [1, 8, 32])
    assert_frame_equal(split, whole, rel_tol=1e-12)


def test_memory_of_a_point_stands_for_the_devices_own():
    found = swept("llama-3.1-8b", "h100-sxm", MIX, ["checkpoint"], ["tp1"], [1],
                  device_memory_gb=[24_000, 200_000])  # fmt: skip
    assert found["room_bytes"].to_list() == [22_080_000_000, 184_000_000_000]
    assert found["largest_batch"][0] < found["largest_batch"][1]


def test_sweeps_are_checked_for_the_columns_that_they_have_alone():
    """FLOPs of a thousand long prompts do not fit; nobody asks for them."""
    found = swept("llama-3.1-8b", "h100-sxm", [Requests(131_072, 100, 1.0)], ["checkpoint"],
                  ["tp1"], [1024])  # fmt: skip
    assert found["memory_bytes"][0] > found["room_bytes"][0]


def test_layouts_are_those_that_engines_run():
    def names(*given, **more):
        return [layout_name(layout) for layout in layouts_of(*given, **more)]

    dense = names(load_model("llama-3.1-8b"), 8)
    assert dense[0] == "tp1"
    assert set(dense) == {"tp1", "tp2", "tp4", "tp8", "pp2", "tp2-pp2", "tp4-pp2", "pp4",
                          "tp2-pp4", "pp8"}  # fmt: skip
    mixture = names(load_model("qwen3-30b-a3b"), 4)
    assert {"tp4", "tp4-ep4", "ep4-dp4", "tp2-ep4-dp2"} <= set(mixture)
    assert not any("dp" in name and "ep" not in name for name in mixture)
    assert names(load_model("qwen3-30b-a3b"), 4, simple=True) == [
        name for name in mixture if "ep" not in name
    ]


def test_precisions_are_those_that_a_device_has_peaks_for():
    def names(device):
        return list(precisions_of(model, load_device(device)).values())

    model = load_model("llama-3.1-8b")
    assert names("a100-80gb") == ["checkpoint", "w4a16"]
    assert "nvfp4-kv8" in names("b200")
    assert "nvfp4" not in names("h100-sxm")


def test_group_limit_is_a_node_or_as_many_as_hold_the_weights():
    def limit(model, device, **settings):
        timing = timing_target(load_device(device))
        return group_limit(load_model(model), timing, EngineOptions(**settings))

    assert limit("llama-3.1-8b", "h100-sxm") == 8
    assert limit("deepseek-v3", "h100-sxm") == 16
    assert limit("deepseek-v3", "h100-sxm", memory_share=0.4) == 32
    assert limit("llama-3.1-8b", "rtx-4090") >= 1


def test_batches_of_many_lengths_grow_in_steps():
    one = lengths_of("test", load_model("llama-3.1-8b"), {"prompt": [10]})
    many = lengths_of("test", load_model("llama-3.1-8b"), {"prompt": [10, 20]})
    assert batches_of(300, one) == list(range(1, 301))
    thin = batches_of(1000, many)
    assert thin[:64] == list(range(1, 65))
    assert thin[-1] == 1000
    assert len(thin) < 120


def test_lengths_are_distinct_and_weigh_as_many():
    model = load_model("llama-3.1-8b")
    found = lengths_of("test", model, {"prompt": [5, 9, 5], "answer": [1, 1, 1],
                                       "weight": [1, 2, 5]})  # fmt: skip
    assert found.columns == ("prompt_tokens", "decode_steps")
    weights = {tuple(row): w for row, w in zip(found.values.tolist(), found.weights, strict=True)}
    assert weights == {(5, 1): 0.75, (9, 1): 0.25}
    pages = lengths_of("test", load_model("deepseek-ocr-3b"),
                       {"mode": ["gundam:2x3", "tiny"], "answer": [10, 20]})  # fmt: skip
    assert pages.columns == ("view_size", "tile_size", "crop_rows", "crop_cols", "decode_steps")
    assert [1024, 640, 2, 3, 10] in pages.values.tolist()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"prompt": [-1]}, r"prompt_tokens\[0\] = -1: expected an integer"),
        ({"prompt": [1.5]}, r"prompt_tokens\[0\] = 1.5: expected an integer"),
        ({"prompt": ["x"]}, r"prompt_tokens\[0\] = 'x': expected an integer"),
        ({"prompt": [1], "weight": [-2]}, r"weight\[0\]: expected a number of at least 0"),
        ({"prompt": [1], "weight": [float("nan")]}, r"weight\[0\]"),
        ({"prompt": [1], "weight": [0]}, "weight: expected at least one number above 0"),
        ({"weight": [1]}, "expected a column of lengths"),
        ({"prompt": []}, "expected at least one row"),
        ({"crops": ["2x3"]}, "crops: expected columns of"),
        ({"prompt": [1], "prompt_tokens": [1]}, "sets prompt_tokens, as another column does"),
        ({"batch_size": [1]}, "batch_size: expected columns of"),
    ],
)
def test_wrong_lengths_are_named(table, said):
    with pytest.raises(InputError, match=said):
        lengths_of("test", load_model("llama-3.1-8b"), table)


def test_lengths_beside_an_axis_of_the_same_are_refused():
    model = load_model("llama-3.1-8b")
    lengths = lengths_of("trace", model, {"prompt": [10]})
    grid = search_grid(model, timing_target(load_device("h100-sxm")), {"prompt_tokens": [1, 2]},
                       lengths_of("none", model, {}))  # fmt: skip
    with pytest.raises(InputError, match=r"axes\.prompt_tokens: trace sets prompt_tokens"):
        with_lengths(grid, lengths)


@given(
    st.lists(
        st.tuples(st.integers(1, 100_000), st.integers(0, 5000), st.integers(1, 9)),
        min_size=65,
        max_size=300,
    ),
    st.integers(4, 64),
)
def test_classes_keep_the_mean_of_what_they_stand_for(rows, classes):
    model = load_model("llama-3.1-8b")
    prompt, answer, weight = zip(*rows, strict=True)
    lengths = lengths_of("test", model, {"prompt": list(prompt), "answer": list(answer),
                                         "weight": list(weight)})  # fmt: skip
    found = condensed(lengths, classes)
    assert found.requests <= max(classes, 1)
    assert found.weights.sum() == pytest.approx(1)
    for name in ("prompt_tokens", "decode_steps"):
        assert found.mean(name, model) == pytest.approx(lengths.mean(name, model), abs=0.51)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 5)), min_size=1, max_size=40),
       st.floats(0.01, 1))  # fmt: skip
def test_quantile_is_that_of_values_repeated(pairs, share):
    values = np.array([[value for value, _ in pairs]])
    weights = np.array([weight for _, weight in pairs], float)
    repeated = sorted(value for value, weight in pairs for _ in range(weight))
    place = min(int(np.ceil(share * len(repeated) * (1 - 1e-12))) - 1, len(repeated) - 1)
    assert quantile(values, weights / weights.sum(), share)[0] == repeated[max(place, 0)]
