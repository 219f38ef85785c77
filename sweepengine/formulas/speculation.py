"""Speculative decoding: passes of a step that drafts k tokens, verifies them and yields some.

A step drafts k tokens in k passes of the draft, and the model verifies them in one pass of `k + 1`
new tokens. It yields `a` tokens on average, 1 to `k + 1`. Source: docs/decoders.md, "Speculative
decoding". Without drafted tokens a step is one pass of one token.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Span
from sweepengine.formulas.cost import formula
from sweepengine.formulas.tokens import ceil_div, keys_of_last_step, keys_of_steps

MTP, EAGLE = "mtp", "eagle"
DRAFTS = (MTP, EAGLE)
"""Drafts that follow from the model itself; the position is their code, others follow."""
A_TOKEN = 1000
"""Thousandths of a token, in which accepted tokens are counted."""


class DecodeStep(NamedTuple):
    """What a step of decoding is, for the model or for its draft."""

    tokens: int
    """New tokens of each sequence in a pass, T."""
    passes: int
    """Passes of the step, P."""
    accepted: int
    """Tokens of each sequence that the step yields, A thousandths."""


ONE_TOKEN = DecodeStep(tokens=1, passes=1, accepted=A_TOKEN)
"""A step without drafted tokens."""


@formula
def accepted_tokens(drafted: int, accepted: int) -> int:
    """Thousandths of tokens that a step yields: as stated, or `1 + k/2` where 0 is stated."""
    return accepted + (accepted == 0) * A_TOKEN * (2 + drafted) // 2


@formula
def verification(drafted: int, accepted: int) -> DecodeStep:
    """A step of the model: one pass over the last token and k drafted ones.

    Parameters
    ----------
    drafted, accepted : int
        k, and thousandths of tokens that a step yields; 0: `1 + k/2`. Numbers or columns.
    """
    return DecodeStep(1 + drafted, 1, accepted_tokens(drafted, accepted))


@formula
def drafting(drafted: int, accepted: int) -> DecodeStep:
    """A step of the draft: k passes of one token; parameters as those of `verification`."""
    return DecodeStep(1, drafted, accepted_tokens(drafted, accepted))


@formula
def steps_of_answer(answer: int, accepted: int) -> int:
    """Steps that an answer of K tokens takes, whole ones: `ceil(1000*K/A)`."""
    return ceil_div(A_TOKEN * answer, accepted)


@formula
def floor_sum(count: int, divisor: int, factor: int, start: int) -> int:
    """The sum of `(factor*i + start)//divisor` over i = 0 to n-1, in closed form.

    Whole parts of factor and start are an arithmetic series; what is left is the same sum with
    divisor and factor exchanged, as in Euclid's algorithm.

    Parameters
    ----------
    count : int
        n.
    divisor : int
        Above 0.
    factor, start : int
        At least 0.
    """
    found = 0
    while count > 0:
        found += count * (count - 1) // 2 * (factor // divisor) + count * (start // divisor)
        factor, start = factor % divisor, start % divisor
        last = factor * count + start
        if last < divisor:
            return found
        count, start = last // divisor, last % divisor
        divisor, factor = factor, divisor
    return found


@formula
def keys_of_pass_in_steps(cached: int, steps: int, span: Span, step: DecodeStep) -> int:
    """Keys that one pass of each of n steps meets, where step i finds `C + i*A//1000` tokens.

    Each of T new tokens meets `T + min(C_i, W-1)` keys, or `(C_i + T)//m` entries, as in any pass
    (`tokens.keys_of_pass`).

    Parameters
    ----------
    cached, steps : int
        C and n.
    span : Span
        Which keys.
    step : DecodeStep
        T and A.
    """
    new, yielded = step.tokens, step.accepted
    if span.stride > 0:
        return floor_sum(steps, A_TOKEN * span.stride, yielded, A_TOKEN * (cached + new))
    uncut = steps
    if span.window > 0:
        room = max(span.window - 1 - cached, 0)
        uncut = min(steps, ceil_div(A_TOKEN * room, yielded))
    met = uncut * (new + cached) + floor_sum(uncut, A_TOKEN, yielded, 0)
    return met + (steps - uncut) * (new + span.window - 1)


@formula
def keys_of_answer(cached: int, answer: int, span: Span, step: DecodeStep) -> int:
    """Keys that all passes of an answer of K tokens meet, the first one C cached ones.

    Pass j of a step finds j tokens more than its first.

    Parameters
    ----------
    cached, answer : int
        C and K.
    span : Span
        Which keys.
    step : DecodeStep
        What a step is.
    """
    if step.tokens == 1 and step.passes == 1 and step.accepted == A_TOKEN:
        return keys_of_steps(cached, answer, span)
    steps, met = steps_of_answer(answer, step.accepted), 0
    for later in range(step.passes):
        met += keys_of_pass_in_steps(cached + later, steps, span, step)
    return met


@formula
def most_keys_of_answer(cached: int, answer: int, span: Span, step: DecodeStep) -> int:
    """Keys that the last pass of an answer meets, which are the most; parameters as before."""
    if step.tokens == 1 and step.passes == 1 and step.accepted == A_TOKEN:
        return keys_of_last_step(cached, answer, span)
    steps = max(steps_of_answer(answer, step.accepted), 1)
    found = cached + max(step.passes - 1, 0) + (steps - 1) * step.accepted // A_TOKEN
    return keys_of_pass_in_steps(found, 1, span, step)
