"""Keys that tokens meet, against sums over steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.formulas.architecture import Span
from sweepengine.formulas.tokens import (
    entries_of_pass,
    held_tokens,
    keys_of_last_step,
    keys_of_pass,
    keys_of_steps,
)

REACHES = st.one_of(
    st.builds(Span, st.sampled_from([0, 2, 7, 40]), st.just(0), st.just(1)),
    st.builds(Span, st.just(0), st.sampled_from([1, 4, 13]), st.sampled_from([1, 2])),
)


def met(reach, context):
    """Keys that a token meets which is the `context`-th."""
    if reach.stride:
        return context // reach.stride
    return min(context, reach.window or context)


@given(REACHES, st.integers(0, 100), st.integers(0, 60))
def test_keys_of_steps_are_the_sum_over_them(reach, cached, steps):
    each = [met(reach, cached + step) for step in range(1, steps + 1)]
    assert keys_of_steps(cached, steps, reach) == sum(each)
    assert keys_of_last_step(cached, steps, reach) == met(reach, cached + max(steps, 1))


@pytest.mark.parametrize(
    ("window", "expected"), [(0, 13), (20, 13), (11, 13), (10, 12), (4, 6), (2, 4), (1, 3)]
)
def test_a_pass_meets_what_the_window_leaves_of_the_cache(window, expected):
    assert keys_of_pass(3, 10, window) == expected


@pytest.mark.parametrize(("tokens", "expected"), [(0, 0), (3, 0), (4, 1), (11, 2)])
def test_an_entry_stands_for_each_four_tokens(tokens, expected):
    assert entries_of_pass(tokens, 0, 4) == entries_of_pass(0, tokens, 4) == expected
    assert entries_of_pass(tokens, 5, 0) == 0


@pytest.mark.parametrize(
    ("reach", "tokens", "expected"),
    [
        (Span(0, 0, 1), 11, 11),
        (Span(8, 0, 1), 11, 7),
        (Span(0, 4, 1), 3, 6),  # values and gates of three
        (Span(0, 4, 1), 11, 2 + 6),
        (Span(0, 4, 2), 3, 12),  # two of each
        (Span(0, 4, 2), 11, 2 + 12 + 8),  # and those of the last four that have an entry
    ],
)
def test_cache_holds_entries_and_what_waits_for_the_next(reach, tokens, expected):
    assert held_tokens(tokens, reach) == expected
