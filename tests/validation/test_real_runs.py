"""Public runs of servers are read as their pages say, and predicted."""

from collections import Counter

import polars as pl
import pytest

from sweepengine.data.family_factors import parameters_of
from sweepengine.formulas.layout import Layout
from sweepengine.validation import real_runs as module
from sweepengine.validation.real_runs import model_of, read_public, real_rows

PAGES, INFERENCEX = (module.shipped_rows(name) for name in ("real_runs.csv", "inferencex.csv"))


def test_every_row_is_predicted_or_has_a_reason():
    public = read_public()
    known = len(public.runs) + len(public.speculative) + sum(public.reasons.values())
    assert known == len(PAGES) + len(INFERENCEX)
    assert len(real_rows()) == len(public.runs) + len(public.speculative)


def test_layers_of_glm_without_an_indexer_attend_to_chosen_keys_too():
    groups = model_of("zai-org--GLM-5.2-FP8").architecture.groups
    assert {group.attention.index_keys for group in groups} == {2048}
    indexed = sum(group.layers for group in groups if group.attention.index_heads)
    assert (indexed, sum(group.layers for group in groups)) == (21, 78)


def test_rows_of_the_extra_are_left_to_it():
    again = [row for row in INFERENCEX if row["in_extra"] and not row["draft_tokens"]]
    assert read_public().reasons[module.AGAIN] == len(again) > 0


def test_no_measurement_stands_twice():
    for rows, keys in (
        (PAGES, ("device", "model")),
        (INFERENCEX, ("engine", "precision", "device")),
    ):
        times = ("ttft_median_ms", "ttft_mean_ms", "tpot_median_ms", "tpot_mean_ms")
        counted = Counter(tuple(row[key] for key in (*keys, "prompt", *times)) for row in rows)
        assert max(counted.values()) == 1


def test_every_source_is_a_line_of_a_public_page_at_a_commit():
    for row in PAGES:
        owner, _, blob, commit, *_ = row["source"].split("/")
        assert (blob, len(commit)) == ("blob", 12)
        assert "#L" in row["source"]
        assert owner in ("gpustack", "sgl-project", "vllm-project")


def test_lengths_of_inferencex_are_the_means_of_what_is_drawn():
    cells = next(
        row for row in INFERENCEX if row["layout"] == "dp8-ep8" and row["device"] == "b200"
    )
    run = module._of_inferencex(cells)
    assert (run.row.prompt, run.row.output) == (
        round(0.9 * cells["prompt"]),
        round(0.9 * cells["answer"]),
    )
    assert run.row.decode.layout == Layout(1, 8, 1, 8)


def test_a_burst_is_a_run_without_a_limit():
    loads = {module._of_page(cells).row.load: cells["limit"] for cells in PAGES}
    assert loads["bursts"] is None
    assert loads["steady"] is not None


def test_the_median_request_waits_for_half_of_a_burst():
    """Of 100 requests of which 77 are sent at once, the median one waits for 27 of them."""
    ahead = {(cells["requests"], cells["limit"], cells["layout"]): module._of_page(cells).ahead
             for cells in PAGES}  # fmt: skip
    assert ahead[1000, None, "tp1"] == 500
    assert ahead[100, 77, "dp8-ep8"] == 27 / 8
    assert ahead[100, 4, "tp1"] == 0


def test_a_model_stated_by_its_differences():
    """Qwen3-14B has 14.8 billion parameters, 13.2 without embeddings, its page says."""
    assert parameters_of(model_of("qwen3-14b").architecture) == 14_768_307_200


def test_speculative_runs_are_marked_and_not_predicted():
    marked = [row for row in real_rows() if row.speculative]
    assert marked
    assert all(row.tpot_predicted is None and row.tpot_measured for row in marked)


def errors_by_class(*names):
    """Number of judging rows, and median and 90th percentile of errors, %, by fields `names`."""
    frame = pl.DataFrame(real_rows(), infer_schema_length=None).filter("judging")
    measures = []
    for what in ("tpot", "ttft"):
        error = 100 * (pl.col(f"{what}_predicted") / pl.col(f"{what}_measured") - 1).abs()
        measures += [error.count().alias(f"{what}_rows"), error.median().alias(f"{what}_median"),
                     error.quantile(0.9).alias(f"{what}_p90")]  # fmt: skip
    return frame.group_by(*names).agg(measures).sort(*names).to_dicts()


@pytest.mark.parametrize(
    ("of", "tpot"),
    [
        ({"collection": "inferencex", "device": "mi325x", "disaggregated": False}, 25),
        ({"collection": "inferencex", "device": "mi355x", "disaggregated": False}, 25),
        ({"collection": "real", "device": "mi300x", "disaggregated": False}, 25),
        ({"collection": "inferencex", "device": "b200", "disaggregated": False}, 8),
        ({"collection": "inferencex", "device": "h200", "disaggregated": False}, 8),
    ],
)
def test_errors_on_rows_that_no_constant_saw(of, tpot):
    (errors,) = [row for row in errors_by_class(*of) if {key: row[key] for key in of} == of]
    assert errors["tpot_rows"] >= 10
    assert errors["tpot_median"] <= tpot
