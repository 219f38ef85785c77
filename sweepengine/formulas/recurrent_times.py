"""Seconds of recurrent mixers: their convolution, their chunks in a prefill, their state in a step.

Times are in microseconds, of one device's share; rates stand in `operator_rates.py`. Source of the
forms: docs/times.md, "Recurrent mixers".
"""

from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    KIMI_DELTA_ATTENTION,
    MAMBA_2,
    Recurrent,
)
from sweepengine.formulas.cost import formula
from sweepengine.formulas.gemms import convolved_width, gemms_us, recurrent_gemms
from sweepengine.formulas.operator_rates import ChunkRates, ConvolutionRates, StateRates
from sweepengine.formulas.recurrent import mixing, state_values
from sweepengine.formulas.seconds import element_wise, warmth
from sweepengine.formulas.speeds import VALUE, Speeds
from sweepengine.formulas.tokens import Pass


@formula
def convolution(
    sequences: float, tokens: float, channels: float, taps: float, rates: ConvolutionRates
) -> float:
    """Short convolution of b sequences of T tokens and D channels, us.

    `t0 + cs*min(T, s0) + ct*b*D + M/bytes`: traffic `M = 4*b*D*(T+w)` of channels in and out, and
    of w columns of state read and written; a part of it stays in the L2 cache.
    """
    moved = 2.0 * VALUE * sequences * channels * (tokens + taps)
    moved *= warmth(rates.resident, rates.resident_bytes, moved)
    before = rates.launch + rates.latency * min(tokens, rates.latency_tokens)
    return before + rates.block * sequences * channels + moved / rates.bytes


@formula
def chunked_scan(
    sequences: float, tokens: float, work: float, channels: float, state: float, rates: ChunkRates
) -> float:
    """State of b sequences over T tokens, chunk by chunk, us.

    `t0 + max(L, C+M) + g*min(L, C+M)`: latency `L = cs*T` of chunks one after another; work C of
    all sequences; traffic `M = (al*2*b*T*c + 4*b*S)/bytes`, of which a part stays in the L2 cache.

    Parameters
    ----------
    sequences, tokens : float
        b and T.
    work : float
        FLOPs of one sequence.
    channels : float
        c, of keys, queries, values and outputs together.
    state : float
        S, values of the state of one sequence, read and written once.
    rates : ChunkRates
        Rates of the device.
    """
    moved = VALUE * sequences * (rates.activations * tokens * channels + 2.0 * state)
    moved *= warmth(rates.resident, rates.resident_bytes, moved)
    done = sequences * work / rates.flops + moved / rates.bytes
    walked = rates.latency * tokens
    return rates.launch + max(walked, done) + rates.overlap * min(walked, done)


@formula
def state_step(sequences: float, tokens: float, state: float, rates: StateRates) -> float:
    """State of b sequences in a step of T tokens, us: `t0 + 2*b*S*(1+T)/bytes`.

    S values of state are read once, and written for each token, of which some may be rejected.
    """
    moved = VALUE * sequences * state * (1.0 + tokens)
    moved *= warmth(rates.warm, rates.warm_bytes, moved)
    return rates.launch + moved / rates.bytes


@formula
def measured_mixer_us(recurrent: Recurrent, one: Pass, launch: float, speeds: Speeds) -> float:
    """A delta net, Kimi delta attention or Mamba-2 between its projections, us.

    Mamba-2's chunks were measured by no table: they take the rates of a delta net's, an assumption
    of ours.

    Parameters
    ----------
    recurrent : Recurrent
        A device's share.
    one : Pass
        What runs through it.
    launch : float
        Of an element-wise kernel, us.
    speeds : Speeds
        Rates of the device.
    """
    sequences, tokens, wide = one.sequences, one.tokens, convolved_width(recurrent)
    inner = recurrent.heads * recurrent.value_width
    state = inner * recurrent.key_width
    found = element_wise(3.0 * sequences * tokens * inner * VALUE, launch, speeds.host.moved)
    taps = recurrent.convolution
    if one.decode > 0:
        found += convolution(sequences, tokens, wide, taps, speeds.convolution_step)
        return found + state_step(sequences, tokens, state, speeds.state_step)
    found += convolution(sequences, tokens, wide, taps, speeds.convolution)
    work = mixing(recurrent, tokens, one.cached).tensor_flops
    rates = speeds.kimi_chunks if recurrent.kind == KIMI_DELTA_ATTENTION else speeds.delta_chunks
    return found + chunked_scan(sequences, tokens, work, wide + inner, state, rates)


@formula
def recurrent_us(
    recurrent: Recurrent, hidden: int, one: Pass, launch: float, speeds: Speeds
) -> float:
    """Recurrent mixer, us: its GEMMs, and what stands between them.

    Kinds that no table measured move their state and their channels in two launches.

    Parameters
    ----------
    recurrent : Recurrent
        A device's share.
    hidden : int
        h.
    one : Pass
        What runs through it.
    launch : float
        Of an element-wise kernel, us.
    speeds : Speeds
        Rates of the device.
    """
    if recurrent.heads == 0:
        return 0.0
    rows = one.sequences * one.tokens
    found = gemms_us(recurrent_gemms(recurrent, hidden), rows, speeds.attention)
    kind = recurrent.kind
    if kind in (GATED_DELTA_NET, KIMI_DELTA_ATTENTION, MAMBA_2):
        return found + measured_mixer_us(recurrent, one, launch, speeds)
    inner = recurrent.heads * recurrent.value_width
    state = 2.0 * one.sequences * state_values(recurrent) * VALUE
    moved = state + 3.0 * rows * (convolved_width(recurrent) + inner) * VALUE
    return found + element_wise(moved, 2.0 * launch, speeds.host.moved)
