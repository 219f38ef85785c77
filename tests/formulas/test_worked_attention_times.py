"""Times of attention with sizes of one, worked by hand from the docstrings' formulas.

Work takes 1 us a FLOP, or traffic 1 us a byte; all else is free but for launches that are named.
"""

import pytest

from sweepengine.formulas.architecture import Span
from sweepengine.formulas.attention import chooses
from sweepengine.formulas.attention_times import (
    TimeSpans,
    attended_entries,
    attended_share,
    attended_us,
    crossed_us,
    grouped_line,
    index_scores,
    indexer_us,
    step_lines,
    steps_us,
    time_spans,
    time_window,
)
from sweepengine.formulas.cached import growth_quarters
from sweepengine.formulas.operator_rates import DecodeRates, PrefillRates
from sweepengine.formulas.seconds import NO_LINE, Line
from sweepengine.formulas.sparse_times import is_sparse
from sweepengine.formulas.tokens import Pass
from tests.speeds import COUNTING, ONE_HEAD, rates

HIDDEN = 5
ONE_LATENT = ONE_HEAD._replace(latent=1)
CHOOSING = ONE_LATENT._replace(index_heads=1, index_width=2, index_keys=1)
"""An indexer of one head that chooses one key."""
SEVEN = COUNTING._replace(
    decode_window=rates(DecodeRates, launch=7.0), prefill_window=rates(PrefillRates, launch=7.0)
)
"""Kernels of windows start in 7 us."""


def test_a_latent_that_an_indexer_chooses_from_is_told_by_1():
    assert chooses(CHOOSING) == 1
    assert chooses(CHOOSING._replace(latent=512, index_heads=64)) == 1
    for other in ({"latent": 0}, {"index_heads": 0}, {"stride": 1}, {"stride": 4}):
        assert chooses(CHOOSING._replace(**other)) == 0


def test_an_entry_of_one_token_grows_the_cache_by_all_of_its_values():
    # keys and values of a token, 3 + 2, and 3 of its entry; 32 quarter bits each
    assert growth_quarters(ONE_HEAD._replace(stride=1), 32) == (5 + 3) * 32
    # a half of an entry's 3 values, rounded up
    assert growth_quarters(ONE_HEAD._replace(stride=2), 32) == (5 + 2) * 32


def test_a_prefill_beyond_one_chosen_key_is_sparse():
    assert is_sparse(CHOOSING, tokens=1, cached=1, dense=1) == 1
    assert is_sparse(CHOOSING, tokens=1, cached=0, dense=1) == 0
    assert is_sparse(CHOOSING, tokens=1, cached=0, dense=0) == 1
    assert is_sparse(CHOOSING._replace(stride=1), tokens=1, cached=1, dense=1) == 0
    assert is_sparse(CHOOSING._replace(latent=0), tokens=1, cached=1, dense=1) == 0
    assert is_sparse(CHOOSING._replace(index_keys=0), tokens=1, cached=1, dense=1) == 0


def test_an_indexer_of_one_head_has_a_compressor_of_its_own():
    entries = ONE_HEAD._replace(stride=1, index_heads=1, index_width=2, index_weighted=1)
    # 3 tokens: queries 2 x 5, values and gates of entries 4 x 5, the head's weight 1 x 5
    assert indexer_us(entries, HIDDEN, 3.0, COUNTING) == 2 * 3 * (10 + 20 + 5)
    assert indexer_us(ONE_HEAD._replace(stride=1), HIDDEN, 3.0, COUNTING) == 0


def test_keys_attended_to_are_one_that_was_chosen_or_a_window():
    windowed = ONE_HEAD._replace(window=9)
    assert time_window(windowed._replace(index_keys=1)) == 1
    assert time_window(windowed._replace(index_keys=1, stride=1)) == 9
    assert time_window(windowed) == 9


def test_a_prefill_of_one_head():
    """3 tokens behind a cached one: 3*1 + 3*3/2 pairs."""
    assert attended_us(ONE_HEAD, 1.0, 3, 1, SEVEN) == 4 * 7.5 * 3
    assert attended_us(ONE_LATENT, 1.0, 3, 1, SEVEN) == 2 * 7.5 * (3 + 2)
    assert attended_us(CHOOSING, 1.0, 3, 1, SEVEN) == 2 * 3 * 1 * (2 * 1 + 1)  # a key each
    assert attended_us(ONE_HEAD._replace(heads=0), 1.0, 3, 1, SEVEN) == 0
    # within a window of one, each token meets itself
    windowed = ONE_HEAD._replace(window=1)
    assert attended_us(windowed, 1.0, 3, 1, SEVEN) == 7 + 4 * 3 * 3


def test_entries_of_a_prefill_widen_its_window():
    """4 tokens behind 4 meet 2, 3, 3 and 4 entries of two tokens, or one that was chosen."""
    entries = ONE_HEAD._replace(window=1, stride=2)
    assert attended_entries(entries, 4, 4) == 3
    assert attended_entries(entries, 12, 0) == 3  # 12 tokens meet 0 to 6
    assert attended_entries(entries._replace(index_keys=1), 4, 4) == 1
    assert attended_entries(entries._replace(index_keys=4), 4, 4) == 3
    assert attended_entries(ONE_HEAD._replace(index_keys=4), 4, 4) == 0
    assert attended_us(entries, 1.0, 4, 4, SEVEN) == 7 + 4 * (4 * 4) * 3
    assert attended_us(entries._replace(index_keys=1), 1.0, 4, 4, SEVEN) == 7 + 4 * (4 * 2) * 3
    # of the 4 keys and 4 entries that counts hold
    assert attended_share(entries, 4, 4) == (4 * 1 + 4 * 3) / (4 * (4 + 4))


def test_entries_of_one_token_are_scored_each():
    # 2 sequences of 4 tokens, which meet 3 + 4/2 entries of 2 channels
    entries = ONE_HEAD._replace(stride=1, index_heads=1, index_width=2)
    assert index_scores(entries, 2.0, 4, 3, COUNTING) == 2 * 2 * 4 * 5 * 2


def test_lines_are_over_keys_of_a_window_and_over_all_that_are_scored():
    entries = ONE_HEAD._replace(window=9, stride=4, series=2)
    assert time_spans(entries) == TimeSpans(Span(9, 0, 1), Span(0, 4, 2))
    assert time_spans(entries._replace(index_keys=5)) == TimeSpans(Span(14, 0, 1), Span(0, 4, 2))
    narrow = entries._replace(window=1, index_keys=5)
    assert time_spans(narrow) == TimeSpans(Span(6, 0, 1), Span(0, 4, 2))
    whole = entries._replace(window=0, index_keys=5)
    assert time_spans(whole) == TimeSpans(Span(0, 0, 1), Span(0, 4, 2))
    assert time_spans(CHOOSING) == TimeSpans(Span(1, 0, 1), Span(0, 0, 1))


def test_a_step_of_one_head():
    """Two sequences: 4*2*3 FLOPs a key, of latents 2*2*(2*1 + 1)."""
    line = Line(launch=0, latency=0, latency_keys=0, base=0, growth=0, work=24)
    assert step_lines(ONE_HEAD, 2.0, COUNTING) == (pytest.approx(line), NO_LINE)
    latent = step_lines(ONE_LATENT, 2.0, COUNTING)
    assert latent == (pytest.approx(line._replace(work=12)), NO_LINE)
    assert step_lines(ONE_HEAD._replace(heads=0), 2.0, COUNTING) == (NO_LINE, NO_LINE)
    assert step_lines(ONE_HEAD._replace(crossed=1), 2.0, COUNTING) == (NO_LINE, NO_LINE)
    assert grouped_line(ONE_HEAD, 2.0, SEVEN, 1).launch == 0
    assert grouped_line(ONE_HEAD._replace(window=1), 2.0, SEVEN, 1).launch == 7


@pytest.mark.parametrize(
    ("parts", "values", "channels"),
    [
        ({"index_heads": 1, "index_width": 1, "index_keys": 1}, 1, 1),  # an indexer's keys
        ({"stride": 1}, 3, 2 * 3),  # entries, scored and mixed
        ({"stride": 2}, 3, 2 * 3),
        ({"stride": 2, "index_heads": 1, "index_width": 1}, 1, 1),  # entries that it scores
    ],
)
def test_a_step_beside_its_keys(parts, values, channels):
    """Two sequences read 2 bytes a value, and take 2 FLOPs a channel."""
    speeds = COUNTING._replace(decode=rates(DecodeRates, bytes=1.0))
    beside = step_lines(ONE_HEAD._replace(**parts), 2.0, speeds).beside
    assert beside == Line(0, 0, 0, 0, growth=2 * values * 2, work=2 * 2 * channels)


def test_one_feature_of_an_image_is_attended_to():
    crossed = ONE_HEAD._replace(crossed=1)
    speeds = COUNTING._replace(
        prefill=rates(PrefillRates, launch=7.0), decode=rates(DecodeRates, launch=11.0)
    )
    # 2 tokens of 3 channels, or one
    assert crossed_us(crossed, Pass(1.0, 2, 0, 0, features=1), speeds) == 7 + 4 * 2 * 3
    assert crossed_us(crossed, Pass(1.0, 1, 2, 1, features=1), speeds) == 11 + 4 * 3
    assert crossed_us(crossed, Pass(1.0, 1, 2, 1, features=0), speeds) == 0


def test_steps_that_meet_few_keys_or_entries():
    """7 us, and the longer of 4 us and 1 us a key."""
    line = Line(launch=7, latency=0, latency_keys=0, base=4, growth=0, work=1)
    assert steps_us(line, 2, 1, Span(0, 0, 1)) == 7 + 4
    assert steps_us(line, 2, 3, Span(0, 0, 1)) == 3 * 7 + 4 + 4 + 5  # 3, 4 and 5 keys
    assert steps_us(line, 2, 3, Span(0, 1, 1)) == 3 * (7 + 4)  # 4 entries at their mean
    assert steps_us(line, 9, 3, Span(0, 2, 1)) == 3 * (7 + 11 / 2)  # of 10, 11 and 12 tokens
    assert steps_us(line, 2, 0, Span(0, 0, 1)) == 0
