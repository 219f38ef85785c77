"""Reductions of figures to columns: how each output column follows from the figures of a point."""

from typing import NamedTuple

from sweepengine.formulas.architecture import Convention, Span
from sweepengine.formulas.cost import formula
from sweepengine.formulas.tokens import held_tokens, keys_of_last_step, keys_of_steps, smaller


class PeakLines(NamedTuple):
    """Activation bytes of a step as two lines in the keys it meets, of which the larger counts."""

    attention_bytes: int
    """While it attends."""
    attention_growth: int
    other_bytes: int
    """In feed-forward or head, where only eager attention's scores grow."""
    other_growth: int


SATURATED = 40
"""Tokens an expert from which on all are activated, to every bit of a double."""


@formula
def over_steps(steps: int, step: int) -> int:
    """What K steps cost beside the keys they meet."""
    return steps * step


@formula
def cached_before(convention: Convention, context: int) -> int:
    """Tokens that the first step meets beside its own; the published accounting leaves that out."""
    return context + convention.step_attends_itself - 1


@formula
def keys_met(convention: Convention, context: int, steps: int, span: Span) -> int:
    """Keys that K steps behind `context` tokens meet in layers of one span."""
    return keys_of_steps(cached_before(convention, context), steps, span)


@formula
def last_keys(convention: Convention, context: int, steps: int, span: Span) -> int:
    """Keys that the last of K steps meets in layers of one span: the largest step."""
    return keys_of_last_step(cached_before(convention, context), steps, span)


@formula
def step_bytes(lines: PeakLines, met: int) -> int:
    """Activation bytes of a step that meets `met` keys, in layers of one attention span."""
    return max(
        lines.attention_bytes + lines.attention_growth * met,
        lines.other_bytes + lines.other_growth * met,
    )


@formula
def cached_after(convention: Convention, context: int, steps: int, span: Span) -> int:
    """Tokens in a layer's KV cache after decoding: `context + K`, the last token's own included.

    The published accounting leaves that one out, as no step ever reads it: `context + K - 1`.
    """
    left_out = (1 - convention.cache_holds_last_token) * min(steps, 1)
    return held_tokens(context + steps - left_out, span)


@formula
def activated_experts(held: int, experts: int, per_token: int, tokens: float) -> float:
    """Distinct routed experts of H held that a pass over t tokens activates, in expectation.

    `H*(1 - (1 - k/E)^t)`: routing is taken as uniform. From 40 E tokens on that is H in every
    bit, as `(1 - k/E)^(40 E) < e^-40 < 2^-54`.
    """
    if tokens >= SATURATED * experts:
        return float(held)
    idle: float = (1.0 - per_token / experts) ** float(tokens)
    return held * (1.0 - idle)


def more_positions(rows: int, tokens: int) -> int:
    """Rows of a table of P learned positions that a prefill of T tokens reads beyond the first.

    `min(T, P) - 1`, counts or columns of them; all sequences of a batch share them.
    """
    return smaller(tokens, rows) - 1


@formula
def read_once(pass_bytes: int, row_bytes: int, rows: int, tokens: int) -> float:
    """Bytes of weights that a decoder pass over t tokens reads beside experts.

    Every weight once, and of the token table one row a token, at most the whole table.
    """
    return float(pass_bytes + min(tokens, rows) * row_bytes)
