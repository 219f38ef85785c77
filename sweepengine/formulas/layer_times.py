"""Seconds of decoder layers: operators mapped to the kinds that were measured.

Projections, MLP, router, indexer, shared experts and head are products; attention has forms of its
own in prefill and in steps (`attention_times`); routed experts are a mixture; tensor groups add up
by all-reduce. Rotary embedding and biases are taken as fused into what stands before, residual adds
into the norms. Times are in microseconds, of the busiest device.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import FeedForward, Group, Recurrent, Trunk
from sweepengine.formulas.attention_times import (
    attended_us,
    index_scores,
    indexer_us,
    projection_us,
)
from sweepengine.formulas.cost import formula
from sweepengine.formulas.layout import Layout, branches_of, expert_groups
from sweepengine.formulas.operator_rates import Gemm
from sweepengine.formulas.recurrent import convolved_width, state_values
from sweepengine.formulas.seconds import all_reduce, element_wise, gemm, mixture
from sweepengine.formulas.speeds import VALUE, Speeds
from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.ways import touched_experts

LARGE_MESSAGE = 8e6
"""Bytes from which on the better of the framework's all-reduce and NCCL's is taken."""


class LayerTimes(NamedTuple):
    """Microseconds of one layer, operator by operator as in `decoder.Layer`."""

    norms: float
    projections: float
    rotary: float
    attention: float
    """In prefill; steps have lines instead (`step_lines`)."""
    compressor: float
    indexer: float
    recurrent: float
    router: float
    routed: float
    shared_gate: float
    mlp: float
    residuals: float
    streams: float
    collectives: float


class EndTimes(NamedTuple):
    """Microseconds of what stands before and behind the layers."""

    embedding: float
    collapse: float
    final_norm: float
    head: float
    collectives: float


@formula
def summed(times: tuple[float, ...]) -> float:
    """All operators together."""
    found = 0.0
    for index in range(len(times)):
        found += times[index]
    return found


@formula
def mlp_us(forward: FeedForward, hidden: int, rows: float, rates: Gemm) -> float:
    """Gate and up in one product, then down."""
    found = gemm(rows, (forward.matrices - 1) * forward.width, hidden, rates)
    return found + gemm(rows, hidden, forward.width, rates)


@formula
def routed_us(
    forward: FeedForward, hidden: int, rows: float, layout: Layout, speeds: Speeds
) -> float:
    """Routed experts of one device, which meet the tokens of all groups that share them."""
    if forward.experts == 0:
        return 0.0
    tokens = rows * expert_groups(layout)
    copies = max(1.0, tokens * forward.experts_per_token / layout.expert)
    outer = forward.expert_latent if forward.expert_latent > 0 else hidden
    apart = tokens * speeds.host.spread
    touched = touched_experts(
        forward.experts_held, forward.experts, forward.experts_per_token, apart
    )  # fmt: skip
    found = mixture(
        tokens, outer, forward.expert_width, copies, touched, forward.matrices, speeds.experts
    )  # fmt: skip
    if forward.expert_latent > 0:
        found += gemm(rows, outer, hidden, speeds.mlp) + gemm(rows, hidden, outer, speeds.mlp)
    return found


@formula
def recurrent_us(
    recurrent: Recurrent, hidden: int, rows: float, sequences: float, launch: float, speeds: Speeds
) -> float:
    """Recurrent mixer: its products, and its state and channels moved; chunks are not measured."""
    if recurrent.heads == 0:
        return 0.0
    inner = recurrent.heads * recurrent.value_width
    wide = convolved_width(recurrent)
    gates = recurrent.heads * (2 - recurrent.mamba)
    found = gemm(rows, wide + inner + gates, hidden, speeds.attention)
    found += gemm(rows, hidden, inner, speeds.attention)
    state = 2.0 * sequences * state_values(recurrent) * VALUE
    moved = state + 3.0 * rows * (wide + inner) * VALUE
    return found + element_wise(moved, 2.0 * launch, speeds.host.moved)


@formula
def reduce_us(sent: float, devices: int, speeds: Speeds) -> float:
    """All-reduce of `sent` bytes in a tensor group, beyond a node on the network."""
    if devices <= 1:
        return 0.0
    wires = speeds.wires
    if devices > wires.node:
        around = 2.0 * sent * (devices - 1) / devices / wires.network
        return all_reduce(0.0, wires.node, speeds.reduce) + wires.network_latency + around
    own = all_reduce(sent, devices, speeds.reduce)
    if sent > LARGE_MESSAGE:
        return min(own, all_reduce(sent, devices, speeds.nccl))
    return own


@formula
def exchange_us(
    forward: FeedForward, hidden: int, rows: float, layout: Layout, speeds: Speeds
) -> float:
    """To experts of other tensor groups and back: the smaller of two ways.

    An all-reduce of all groups' tokens, or `20 us + rows*copies*h*3/(0.7*link)`: dispatch in one
    byte a value, combine in two, `copies = min(k, G-1)`. Over N nodes a token crosses the network
    once for each other node that has one of its experts, `(N-1)*(1 - (1-1/N)^k)` at random.
    Source: docs/times.md, "Exchange with experts elsewhere"; the crossing of nodes is ours.
    """
    groups = expert_groups(layout)
    if groups == 1 or forward.experts == 0:
        return 0.0
    wires, chosen = speeds.wires, forward.experts_per_token
    sent = rows * hidden * 3.0 / layout.tensor
    if layout.expert > wires.node:
        nodes = ceil_div(layout.expert, wires.node)
        apart: float = (1.0 - 1.0 / nodes) ** float(chosen)
        crossed = (nodes - 1.0) * (1.0 - apart)
        moved = sent * crossed / (0.7 * wires.network)
        return wires.latency + wires.network_latency + moved
    exchanged = wires.latency + sent * min(chosen, groups - 1) / (0.7 * wires.link)
    whole = rows * groups * hidden * VALUE
    return min(exchanged, reduce_us(whole, layout.expert, speeds))


@formula
def layer_times(
    group: Group,
    trunk: Trunk,
    layout: Layout,
    sequences: float,
    tokens: int,
    cached: int,
    steps: int,
    speeds: Speeds,
) -> LayerTimes:
    """One layer over T tokens of each of b sequences, behind C cached ones; us.

    `steps` 1: a decode step, whose attention is left to `step_lines`. `group` and `trunk` are a
    device's share.
    """
    attention, forward, hidden = group.attention, group.feed_forward, trunk.hidden
    rows = sequences * tokens
    host = speeds.host
    launch = host.step_launch if steps > 0 else host.pass_launch
    values = rows * hidden * max(trunk.streams, 1)
    norms = group.norms * element_wise(4.0 * VALUE * values, launch, host.moved)
    inner = min(attention.query_norm, 1) * attention.heads * attention.key_width
    inner += min(attention.key_norm, 1) * attention.key_value_heads * attention.key_width
    inner += attention.query_rank + attention.latent
    norms += element_wise(2.0 * VALUE * rows * inner, launch, host.moved)
    expanded = 0.0 if steps > 0 else rows + sequences * cached
    branches = branches_of(group)
    reduced = branches * reduce_us(rows * hidden * VALUE, layout.tensor, speeds)
    exchanged = exchange_us(forward, hidden, rows, layout, speeds)
    mixes = trunk.streams * (trunk.streams + 2)
    mixed = VALUE * rows * (3 * trunk.streams + 2) * hidden * min(trunk.streams, 1)
    streamed = 2.0 * gemm(rows, mixes, trunk.streams * hidden, speeds.plain)
    streamed += 2.0 * element_wise(mixed, launch, host.moved)
    attended = 0.0
    scored = 0.0
    if steps == 0:
        attended = attended_us(attention, sequences, tokens, cached, speeds)
        scored = index_scores(attention, sequences, tokens, cached, speeds)
    compressed = 2 * min(attention.stride, 1) * attention.series * attention.key_width
    return LayerTimes(
        norms,
        projection_us(attention, hidden, rows, expanded, speeds),
        0.0,
        attended,
        gemm(rows, compressed, hidden, speeds.plain),
        indexer_us(attention, hidden, rows, speeds) + scored,
        recurrent_us(group.recurrent, hidden, rows, sequences, launch, speeds),
        gemm(rows, forward.experts, hidden, speeds.plain),
        routed_us(forward, hidden, rows, layout, speeds),
        forward.shared_gate * gemm(rows, 1, hidden, speeds.plain),
        mlp_us(forward, hidden, rows, speeds.mlp),
        0.0,
        streamed,
        reduced + exchanged,
    )


@formula
def end_times(
    trunk: Trunk,
    layout: Layout,
    sequences: float,
    tokens: int,
    has_table: int,
    has_head: int,
    is_last: int,
    steps: int,
    speeds: Speeds,
) -> EndTimes:
    """Token table, last norm and head; an engine puts out the last position's logits alone; us."""
    host = speeds.host
    rows = sequences * tokens
    launch = host.step_launch if steps > 0 else host.pass_launch
    table = element_wise(2.0 * VALUE * rows * trunk.hidden, launch, host.moved)
    head = gemm(sequences, trunk.vocabulary, trunk.hidden, speeds.plain) + host.head
    reduced = reduce_us(rows * trunk.hidden * VALUE, layout.tensor, speeds)
    logits = reduce_us(sequences * trunk.vocabulary * VALUE, layout.tensor, speeds)
    sent = 0.0
    if is_last == 0:
        sent = speeds.wires.latency + rows * trunk.hidden * VALUE / speeds.wires.link
    collapse = gemm(rows, trunk.streams, trunk.streams * trunk.hidden, speeds.plain)
    return EndTimes(
        has_table * table,
        is_last * collapse,
        is_last * element_wise(2.0 * VALUE * rows * trunk.hidden, launch, host.moved),
        has_head * head,
        has_table * reduced + has_head * logits + sent,
    )


@formula
def group_prefill_us(
    group: Group,
    trunk: Trunk,
    layout: Layout,
    sequences: float,
    tokens: int,
    cached: int,
    speeds: Speeds,
) -> float:
    """Prefill through a group of layers."""
    times = layer_times(group, trunk, layout, sequences, tokens, cached, 0, speeds)
    return group.layers * summed(times)


@formula
def group_step_us(
    group: Group, trunk: Trunk, layout: Layout, sequences: float, speeds: Speeds
) -> float:
    """A decode step through a group of layers, but for its attention (`step_lines`)."""
    times = layer_times(group, trunk, layout, sequences, 1, 0, 1, speeds)
    return group.layers * summed(times)
