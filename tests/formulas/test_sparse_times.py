"""Forms of sparse attention, checked by hand."""

import pytest

from sweepengine.data.devices import load_device
from sweepengine.data.models import load_model
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas.attention import chooses
from sweepengine.formulas.attention_times import attended_us, index_scores, step_lines, time_spans
from sweepengine.formulas.operator_rates import (
    IndexRates,
    IndexStepRates,
    SparseRates,
    TopKRates,
)
from sweepengine.formulas.seconds import NO_LINE, at_keys, latent_prefill
from sweepengine.formulas.sparse_times import (
    index_logits,
    index_step_line,
    sparse_prefill,
    top_k,
)
from sweepengine.grid.points import checked_point

INDEX = IndexRates(launch=4.0, latency=0.01, pad=100.0, flops=1e6, overlap=0.5)
TOP_K = TopKRates(launch=6.0, latency=0.001, row=0.02, bytes=1000.0, overlap=0.5)
SPARSE = SparseRates(launch=60.0, block=64.0, flops=1e6, overlap=0.5)
MODEL = load_model("deepseek-v3")
DENSE = MODEL.architecture.groups[-1].attention
CHOOSING = DENSE._replace(index_heads=64, index_width=128, index_keys=2048)


def speeds(framework):
    place = timing_target(load_device("h200"), framework)
    return speeds_of(MODEL.architecture, checked_point(MODEL, {}), place)


def test_layers_without_an_indexer_attend_to_the_keys_that_an_earlier_layer_chose():
    """Three of four layers of GLM-5.2 have no indexer."""
    shared, found = CHOOSING._replace(index_heads=0, index_width=0), speeds("sglang")
    for tokens in (1000, 8000):
        own = attended_us(CHOOSING, 2, tokens, 0, found)
        assert attended_us(shared, 2, tokens, 0, found) == own
    assert attended_us(shared, 2, 8000, 0, found) < attended_us(DENSE, 2, 8000, 0, found)
    assert index_scores(shared, 2, 8000, 0, found) == 0
    step = step_lines(shared, 4, found)
    assert step == (step_lines(CHOOSING, 4, found).attended, NO_LINE)
    assert time_spans(shared).attended.window == 2048


def test_scores_walk_keys_or_score_all_pairs():
    pairs = 1000 * 500 + 1000 * 1100 / 2
    work = 2 * 4 * 32 * 128 * pairs / 1e6
    assert work > 0.01 * 1500
    assert index_logits(4, 1000, 500, 32, 128, INDEX) == pytest.approx(4 + work + 0.5 * 15)
    few = 2 * 32 * 128 * (500 + 101 / 2) / 1e6
    assert index_logits(1, 1, 500, 32, 128, INDEX) == pytest.approx(4 + 5.01 + 0.5 * few)


def test_tokens_choose_where_they_meet_more_keys_than_are_chosen():
    assert top_k(8, 2048, 0, 2048, TOP_K) == 0
    assert top_k(8, 100, 1948, 2048, TOP_K) == 0
    pairs = sum(range(2049, 3001))
    moved = 8 * (4 * pairs / 1000 + 0.02 * 952)
    assert top_k(8, 3000, 0, 2048, TOP_K) == pytest.approx(6 + moved + 0.5 * 3)
    assert top_k(1, 1, 9999, 2048, TOP_K) == pytest.approx(6 + 4 * 10 + 0.02 + 0.5 * 10)


def test_a_prefill_pays_for_whole_blocks_of_heads():
    work = 2 * 1000 * 64 * 2048 * 1088 / 1e6
    for heads in (1, 16, 64):
        assert sparse_prefill(1, 1000, heads, 2048, 512, 64, SPARSE) == pytest.approx(work + 30)
    assert sparse_prefill(1, 1000, 128, 2048, 512, 64, SPARSE) == pytest.approx(2 * work + 30)
    ideal = SPARSE._replace(block=0.0, launch=0.0)
    assert sparse_prefill(1, 1000, 16, 2048, 512, 64, ideal) == pytest.approx(work / 4)


def test_scores_of_a_step_are_a_line_in_the_keys():
    rates = IndexStepRates(launch=3.0, query=0.1, flops=1e6, bytes=1000.0)
    line = index_step_line(8, 2, 64, 128, rates)
    traffic, work = 8 * 132 / 1000, 2 * 8 * 2 * 64 * 128 / 1e6
    assert traffic > work
    assert at_keys(line, 1000) == pytest.approx(3 + 0.1 * 16 + 1000 * traffic)


def test_a_choice_starts_up_to_the_keys_that_are_chosen():
    rates = speeds("sglang")
    line = step_lines(CHOOSING, 4.0, rates).beside
    scores = index_step_line(4.0, 1, 64, 128, rates.index_step)
    key = rates.top_k.latency + 4.0 * 4 / rates.top_k.bytes
    for keys, started in ((0, 0.0), (1024, 0.5), (2048, 1.0), (8192, 1.0)):
        choice = started * rates.top_k.launch + key * keys
        assert at_keys(line, keys) == pytest.approx(at_keys(scores, keys) + choice)


@pytest.mark.parametrize(("framework", "dense"), [("sglang", True), ("trtllm", True),
                                                  ("vllm", False)])  # fmt: skip
def test_engines_are_dense_up_to_the_keys_that_are_chosen_or_never(framework, dense):
    assert chooses(DENSE) == 0
    rates = speeds(framework)
    whole = latent_prefill(2, 128, 192, 128, 2048, 0, rates.latent_prefill)
    short = attended_us(CHOOSING, 2, 2048, 0, rates)
    assert (short == whole) == dense
    assert (index_scores(CHOOSING, 2, 2048, 0, rates) == 0) == dense
    assert attended_us(CHOOSING, 2, 2049, 0, rates) == sparse_prefill(
        2, 2049, 128, 2048, 512, 64, rates.sparse_prefill
    )
    assert index_scores(CHOOSING, 2, 2049, 0, rates) > 0
