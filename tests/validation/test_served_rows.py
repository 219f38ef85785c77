"""Public serving rows are read as what they measured."""

import polars as pl
import pytest

from sweepengine.formulas.layout import Layout
from sweepengine.validation import served_rows as module
from sweepengine.validation.served import read_rows
from sweepengine.validation.served_rows import Workers, read_served

SOURCE = "source_file=2026-03-25.csv; silicon_concurrency={c}; measured={date}T00:00:00Z"
ROW = {
    "id": "one", "silicon_data_source": SOURCE.format(c=64, date="2026-01-05"), "backend": "vllm",
    "backend_version": "0.12.0", "model_path": "deepseek-ai/DeepSeek-R1", "system": "b200_sxm",
    "precision": "fp8", "mode": "agg", "isl": 1000, "osl": 2000, "gemm_quant_mode": "fp8",
    "moe_quant_mode": "fp8", "batch_size": 64, "tp_size": 8, "attention_dp_size": 1,
    "moe_tp_size": 1, "moe_ep_size": 8, "silicon_ttft_ms": 200.0, "silicon_tpot_ms": 20.0,
    **{f"{phase}_{name}": None for phase in ("prefill", "decode")
       for name in ("num_workers", "tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")},
}  # fmt: skip
DISAGGREGATED = {"mode": "disagg", "tp_size": None, "moe_ep_size": None, "batch_size": None}


@pytest.fixture
def read(tmp_path):
    def of(*rows):
        path = tmp_path / "rows.csv"
        pl.DataFrame([ROW | row for row in rows], infer_schema_length=None).write_csv(path)
        return read_served(path)

    return of


def test_batch_is_concurrency_over_data_parallel_ranks(read):
    """The file's own batch is divided already, by a size that is squared in some rows."""
    squared = {"tp_size": 1, "attention_dp_size": 64, "moe_tp_size": 8, "batch_size": 1}
    (row,) = read(squared).rows
    assert row.decode.layout == Layout(1, 8, 1, 8)
    assert row.batch == 64 / 8


def test_lengths_are_the_means_of_what_is_drawn(read):
    (row,) = read({}).rows
    assert (row.prompt, row.output) == (900, 1800)
    waves = {"silicon_data_source": "source_file=/x/gap-analysis/data/y.csv; silicon_concurrency=8",
             "tp_size": 2, "attention_dp_size": 2, "batch_size": 4}  # fmt: skip
    (row,) = read(waves | {"moe_ep_size": 4}).rows
    assert (row.prompt, row.output, row.batch) == (1000, 2000, 4)


def test_rows_of_one_measurement_count_once(read):
    """Times that agree in four digits are one measurement, whatever the model is called."""
    other = {"silicon_tpot_ms": 20.0004, "model_path": "deepseek-ai/DeepSeek-V3", "id": "two"}
    found = read({}, other, {"silicon_tpot_ms": 20.1})
    assert (len(found.rows), found.doubles) == (2, 1)
    assert read({}).rows[0].judged == read(other).rows[0].judged


def test_repeats_of_a_configuration_are_in_one_half(read):
    rows = read(*({"silicon_tpot_ms": 20.0 + i, "silicon_ttft_ms": 100.0 + i} for i in range(9)))
    assert len({row.judged for row in rows.rows}) == 1
    others = read(*({"silicon_tpot_ms": 20.0 + i, "isl": 100 + i} for i in range(9)))
    assert len({row.judged for row in others.rows}) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"backend": "trtllm", "silicon_data_source": SOURCE.format(c=8, date="2026-02-05")},
         module.SPECULATIVE),
        ({"backend": "trtllm", "backend_version": "1.2.0rc6.post3"}, module.SPECULATIVE),
        ({"tp_size": 1, "moe_ep_size": 4}, module.MORE_SHARDS),
        ({"tp_size": 72, "moe_ep_size": 1, "moe_tp_size": 72}, module.SEVERAL_GROUPS),
        (DISAGGREGATED, module.NO_WORKERS),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_read_are_set_apart(read, row, reason):
    found = read(row)
    assert (found.rows, dict(found.reasons)) == ([], {reason: 1})


def test_settings_that_rows_do_not_state(read):
    waits = {"backend": "trtllm", "isl": 1024, "osl": 1024}
    (row,) = read(waits | {"silicon_data_source": SOURCE.format(c=64, date="2026-01-29")}).rows
    assert row.settings == {"batch_wait": 40}
    (row,) = read(waits).rows
    assert row.settings == {}
    (few,) = read(
        {"backend": "sglang", "silicon_data_source": SOURCE.format(c=4, date="2026")}
    ).rows
    assert few.settings == {"look_interval": 10}


def test_workers_are_those_of_the_configuration_of_the_row(read):
    known = next(row for row in module._known_workers().values() if row["speculative"] == "false")
    (row,) = read(DISAGGREGATED | {"id": known["id"]}).rows
    assert row.prefill.groups == int(known["prefill_workers"])
    assert row.decode == Workers(int(known["decode_workers"]), row.decode.layout)
    drafts = next(row for row in module._known_workers().values() if row["speculative"] == "true")
    assert read(DISAGGREGATED | {"id": drafts["id"]}).reasons == {module.SPECULATIVE: 1}


def test_weights_larger_than_the_memory_are_set_apart(read, tmp_path):
    read({"tp_size": 1, "moe_ep_size": 1, "system": "h100_sxm"})
    found = read_rows(tmp_path / "rows.csv")
    assert found.served == []
    assert "memory" in next(iter(found.reasons))


def test_every_known_layout_is_one():
    for row in module._known_workers().values():
        for phase in ("prefill", "decode"):
            assert module.read_layout(row[f"{phase}_layout"]) >= (1, 1, 1, 1)
            assert int(row[f"{phase}_workers"]) > 0
