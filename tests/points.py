"""Hypothesis strategies for points."""

from hypothesis import strategies as st

from sweepengine.formulas.points import Point
from sweepengine.formulas.tokens import LayerPass

DIVISORS = {n: [d for d in range(1, n + 1) if n % d == 0] for n in (1280, *range(1, 1281))}
SIDES = st.integers(1, 40).map(lambda n: 64 * n)
CROPS = st.one_of(st.just((0, 0)), st.tuples(st.integers(1, 12), st.integers(1, 12)))
HEADS = st.sampled_from(DIVISORS[1280]).flatmap(
    lambda heads: st.tuples(st.just(heads), st.sampled_from(DIVISORS[heads]))
)


def layer_pass(tokens, keys, entries=0, cached=0, flash=1, absorbed=0):
    """A pass as one layer sees it."""
    return LayerPass(tokens=tokens, cached=cached, keys=keys, entries=entries, flash=flash,
                     absorbed=absorbed)  # fmt: skip


@st.composite
def points(draw):
    crops, heads = draw(CROPS), draw(HEADS)
    return Point(
        draw(SIDES),
        draw(SIDES),
        *crops,
        draw(st.integers(0, 5000)),
        draw(st.integers(0, 5000)),
        draw(st.integers(1, 300)),
        *heads,
        draw(st.sampled_from([0, 1])),
    )
