"""Tables that are laid out in their own way, on a few rows."""

import polars as pl
import pytest

from sweepengine.validation.exchange_tables import exchanged
from sweepengine.validation.recurrent_tables import convolved, delta_chunks
from sweepengine.validation.sparse_tables import (
    BF16_KERNEL,
    FP8_KERNEL,
    MODULES,
    with_fp8_cache,
)


def test_exchanges_are_dispatch_and_combine_in_milliseconds(tmp_path):
    engine = pl.DataFrame({
        "comm_backend": ["deepep_ht", "deepep_ht", "deepep_ht", "deepep_ll"],
        "comm_dtype": ["default"] * 4, "phase": ["dispatch", "combine", "dispatch", "combine"],
        "num_tokens": [64, 64, 128, 128], "hidden_size": [7168] * 4, "topk": [8] * 4,
        "ep_size": [8] * 4, "latency": [100.0, 50.0, 70.0, 1.0],
    })  # fmt: skip
    (row,) = exchanged(engine, tmp_path).to_dicts()
    assert (row["num_tokens"], row["latency"]) == (64, pytest.approx(0.15))
    deepep = pl.DataFrame({
        "device": ["NVIDIA GB200", "NVIDIA GB200", "NVIDIA H200"], "node_num": [1, 2, 1],
        "num_token": [64] * 3, "hidden_size": [7168] * 3, "num_topk": [8] * 3,
        "dispatch_sms": [20, 20, 24], "combine_sms": [20, 20, 24],
        "dispatch_transmit_us": [10.0] * 3, "dispatch_notify_us": [20.0] * 3,
        "combine_transmit_us": [30.0] * 3, "combine_notify_us": [40.0] * 3,
    })  # fmt: skip
    (row,) = exchanged(deepep, tmp_path).to_dicts()
    assert (row["ep_size"], row["latency"]) == (4, pytest.approx(0.1))


def test_convolutions_run_over_the_keys_where_a_table_knows_one_number_of_key_heads():
    rows = pl.DataFrame({
        "batch_size": [1, 1], "seq_len": [64, 64], "num_k_heads": [16, 8], "head_k_dim": [128, 128],
        "num_v_heads": [32, 32], "head_v_dim": [128, 128], "d_conv": [4, 4],
    })  # fmt: skip
    both = rows.select(convolved(rows)[2].alias("channels"))["channels"].to_list()
    assert both == [2 * 16 * 128 + 32 * 128, 2 * 8 * 128 + 32 * 128]
    one = rows.head(1)
    assert one.select(convolved(one)[2].alias("channels"))["channels"].to_list() == [16 * 128]
    mamba = pl.DataFrame({"batch_size": [1], "seq_len": [64], "nheads": [64], "head_dim": [64],
                          "n_groups": [8], "d_state": [128], "d_conv": [4]})  # fmt: skip
    assert mamba.select(convolved(mamba)[2].alias("c"))["c"].to_list() == [64 * 64 + 2 * 8 * 128]


def test_chunks_have_the_work_that_a_delta_net_counts():
    rows = pl.DataFrame({"batch_size": [2], "seq_len": [100], "num_k_heads": [1],
                         "head_k_dim": [128], "num_v_heads": [2], "head_v_dim": [128]})  # fmt: skip
    _, _, work, channels, state = delta_chunks(rows)
    per_token = 2 * 64 * 128 + 3 * 128 * 128 + 64 * 128
    assert work.to_list() == [2 * 2 * 128 * per_token]
    assert channels.to_list() == [2 * 128 + 2 * 128 + 2 * 128]
    assert state.to_list() == [2 * 128 * 128]


def test_the_kernel_of_fp8_caches_is_faster_by_the_difference_of_modules(tmp_path):
    table = pl.DataFrame({"batch_size": [1, 1], "isl": [1024, 4096], "step": [0, 0],
                          "latency": [0.5, 2.0], "kv_cache_dtype": ["fp8_e4m3"] * 2})  # fmt: skip
    assert with_fp8_cache(table, tmp_path)["kv_cache_dtype"].to_list() == ["bfloat16"] * 2
    kernels = [BF16_KERNEL, FP8_KERNEL] * 2
    pl.DataFrame({
        "num_heads": [64] * 4, "gemm_type": ["bfloat16"] * 4, "kernel_source": kernels,
        "batch_size": [1] * 4, "isl": [1024, 1024, 4096, 4096], "step": [0] * 4,
        "latency": [1.0, 0.8, 3.0, 1.5],
    }).write_parquet(tmp_path / f"{MODULES}_perf.parquet")  # fmt: skip
    found = with_fp8_cache(table, tmp_path).filter(pl.col("kv_cache_dtype") == "fp8")
    assert found.select("isl", "latency").rows() == [(4096, pytest.approx(0.5))]
