"""Seconds of decoder layers: operators mapped to the kinds that were measured.

Projections, MLP, router, indexer, shared experts and head are GEMMs; attention has forms of its
own in prefill and in steps (`attention_times`); routed experts run in a MoE kernel; tensor groups
add up by all-reduce. Rotary embedding and biases are taken as fused into what stands before,
residual adds into the norms. Times are in microseconds, of the busiest device.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Backbone, FeedForward, Group
from sweepengine.formulas.attention import own_heads
from sweepengine.formulas.attention_times import (
    attended_us,
    crossed_us,
    index_scores,
    indexer_us,
    projection_us,
)
from sweepengine.formulas.cost import formula
from sweepengine.formulas.expert_times import image_experts_us, routed_us
from sweepengine.formulas.gemms import (
    compressor_gemm,
    feature_gemms,
    gemms_us,
    into_streams,
    laurel_gemms,
    layer_input_gemms,
    layer_inputs_gemm,
    mlp_gemms,
    stream_gemm,
)
from sweepengine.formulas.layers import table_width
from sweepengine.formulas.layout import EndsHeld, Layout, branches_of, expert_groups
from sweepengine.formulas.recurrent_times import recurrent_us
from sweepengine.formulas.seconds import all_reduce, element_wise, exchange, gemm
from sweepengine.formulas.speeds import VALUE, Speeds
from sweepengine.formulas.tokens import Pass, ceil_div, image_tokens_run

LARGE_MESSAGE = 8e6
"""Bytes from which on the better of the framework's all-reduce and NCCL's is taken."""


class LayerTimes(NamedTuple):
    """Microseconds of one layer, operator by operator as in `layers.Layer`."""

    norms: float
    projections: float
    rotary: float
    attention: float
    """In prefill, and to features; other steps have lines instead (`step_lines`)."""
    feature_keys: float
    compressor: float
    indexer: float
    recurrent: float
    router: float
    routed: float
    image_experts: float
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
    forward: FeedForward, hidden: int, rows: float, layout: Layout, decode: int, speeds: Speeds
) -> float:
    """To experts of other tensor groups and back, us: within a node the faster of two exchanges.

    An all-reduce of all groups' tokens, or `seconds.exchange` of a device's part of its group's
    tokens. Over N nodes, after both starts, a token crosses the network once for each other node
    that has one of its experts, `(N-1)*(1 - (1-1/N)^k)` at random, at 0.7 of the network's rate.
    Source: docs/times.md, "Exchange with experts elsewhere"; the crossing of nodes is ours.

    Parameters
    ----------
    forward : FeedForward
        A device's share.
    hidden : int
        h.
    rows : float
        Tokens of all sequences of one tensor group.
    layout : Layout
        How the model lies on devices.
    decode : int
        1: kernels of steps run; 0: those of prefills.
    speeds : Speeds
        Rates of the device.
    """
    groups = expert_groups(layout)
    if groups == 1 or forward.experts == 0:
        return 0.0
    wires, chosen = speeds.wires, forward.experts_per_token
    rates = speeds.exchange_step if decode > 0 else speeds.exchange
    own = rows / layout.tensor
    if layout.expert > wires.node:
        nodes = ceil_div(layout.expert, wires.node)
        idle: float = (1.0 - 1.0 / nodes) ** float(chosen)
        moved = own * hidden * 3.0 * (nodes - 1.0) * (1.0 - idle) / (0.7 * wires.network)
        return rates.launch + wires.network_latency + moved
    exchanged = exchange(own, hidden, chosen, groups, rates)
    whole = rows * groups * hidden * VALUE
    return min(exchanged, reduce_us(whole, layout.expert, speeds))


@formula
def residual_us(backbone: Backbone, rows: float, launch: float, speeds: Speeds) -> float:
    """AltUp, LAuReL and the input of one layer, us: their GEMMs, and what element-wise work moves.

    Parameters
    ----------
    backbone : Backbone
        A device's share.
    rows : float
        Tokens of all sequences.
    launch : float
        Of an element-wise kernel, us.
    speeds : Speeds
        Rates of the device.
    """
    streams, hidden, moved = backbone.alternatives, backbone.hidden, speeds.host.moved
    found = gemms_us(laurel_gemms(backbone), rows, speeds.plain)
    found += gemms_us(layer_input_gemms(backbone), rows, speeds.plain)
    found += 2.0 * gemm(rows, streams, hidden, speeds.plain)
    altered = min(streams, 1) * element_wise(
        VALUE * rows * hidden * (4 * streams + 1), 2.0 * launch, moved
    )
    normed = element_wise(VALUE * 4.0 * rows * hidden, launch, moved)
    return found + altered + (min(backbone.laurel_rank, 1) + min(backbone.input_width, 1)) * normed


@formula
def layer_times(
    group: Group, backbone: Backbone, layout: Layout, one: Pass, speeds: Speeds
) -> LayerTimes:
    """One layer in one pass, us; attention of a decode step is left to `step_lines`.

    Parameters
    ----------
    group, backbone : Group, Backbone
        A device's share of the layer.
    layout : Layout
        How the model lies on devices.
    one : Pass
        What runs through it.
    speeds : Speeds
        Rates of the device.
    """
    attention, forward, hidden = group.attention, group.feed_forward, backbone.hidden
    sequences, tokens, cached = one.sequences, one.tokens, one.cached
    rows = sequences * tokens
    host = speeds.host
    launch = host.step_launch if one.decode > 0 else host.pass_launch
    values = rows * hidden * max(backbone.streams, 1)
    block_norms = group.norms + forward.norms
    norms = block_norms * element_wise(4.0 * VALUE * values, launch, host.moved)
    inner = min(attention.query_norm, 1) * attention.heads * attention.key_width
    inner += min(attention.key_norm, 1) * own_heads(attention) * attention.key_width
    inner += attention.query_rank + attention.latent
    inner += attention.mixed_norm * attention.heads * attention.value_width
    inner += forward.inner_norm * forward.width
    norms += element_wise(2.0 * VALUE * rows * inner, launch, host.moved)
    expanded = 0.0 if one.decode > 0 else rows + sequences * cached
    reduced = branches_of(group) * reduce_us(rows * hidden * VALUE, layout.tensor, speeds)
    exchanged = exchange_us(forward, hidden, rows, layout, one.decode, speeds)
    mixed = VALUE * rows * (3 * backbone.streams + 2) * hidden * min(backbone.streams, 1)
    streamed = 2.0 * gemms_us((stream_gemm(backbone),), rows, speeds.plain)
    streamed += 2.0 * element_wise(mixed, launch, host.moved)
    streamed += residual_us(backbone, rows, launch, speeds)
    attended, scored = 0.0, 0.0
    if attention.crossed > 0:
        attended = crossed_us(attention, one, speeds)
    elif one.decode == 0:
        attended = attended_us(attention, sequences, tokens, cached, speeds)
        scored = index_scores(attention, sequences, tokens, cached, speeds)
    compressed = compressor_gemm(attention, attention.key_width, hidden)
    made = (1 - one.decode) * one.features
    of_images = sequences * image_tokens_run(forward, tokens, made)
    return LayerTimes(
        norms=norms,
        projections=projection_us(attention, hidden, rows, expanded, speeds),
        rotary=0.0,
        attention=attended,
        feature_keys=gemms_us(feature_gemms(attention, hidden), sequences * made, speeds.attention),
        compressor=gemms_us((compressed,), rows, speeds.plain),
        indexer=indexer_us(attention, hidden, rows, speeds) + scored,
        recurrent=recurrent_us(group.recurrent, hidden, one, launch, speeds),
        router=gemm(rows - of_images, forward.experts, hidden, speeds.plain),
        routed=routed_us(forward, forward.expert_width, hidden, rows - of_images, layout, speeds),
        image_experts=image_experts_us(forward, hidden, of_images, layout, speeds),
        shared_gate=forward.shared_gate * gemm(rows, 1, hidden, speeds.plain),
        mlp=gemms_us(mlp_gemms(forward.width, hidden, forward.matrices), rows, speeds.mlp),
        residuals=0.0,
        streams=streamed,
        collectives=reduced + exchanged,
    )


@formula
def handed_on_us(backbone: Backbone, layout: Layout, rows: float, speeds: Speeds) -> float:
    """Sends from each of s pipeline stages to the next, us: `(s-1)*(latency + T*h*2/link)`.

    Where a node holds fewer stages, the network carries those between nodes.

    Parameters
    ----------
    backbone : Backbone
        A device's share.
    layout, speeds : Layout, Speeds
        How the model lies on devices, and their rates.
    rows : float
        Tokens of all sequences, T.
    """
    wires, streams = speeds.wires, max(backbone.streams, backbone.alternatives, 1)
    moved = rows * backbone.hidden * streams * VALUE
    near = max(wires.node // (layout.tensor * layout.data), 1)
    far = ceil_div(layout.pipeline, near) - 1
    sent = (layout.pipeline - 1 - far) * (wires.latency + moved / wires.link)
    if far > 0:
        sent += far * (wires.latency + wires.network_latency + moved / wires.network)
    return sent


@formula
def end_times(
    backbone: Backbone, layout: Layout, ends: EndsHeld, one: Pass, speeds: Speeds
) -> EndTimes:
    """Token table, last norm and head, of whose positions a prefill needs the last alone; us.

    Parameters
    ----------
    backbone : Backbone
        A device's share.
    layout, ends : Layout, EndsHeld
        How the model lies on devices, and what of the ends this one has.
    one : Pass
        What runs through it.
    speeds : Speeds
        Rates of the device.
    """
    host, hidden, rows = speeds.host, backbone.hidden, one.sequences * one.tokens
    launch = host.step_launch if one.decode > 0 else host.pass_launch
    narrow, moved = backbone.table_width, 2.0 * VALUE * rows * hidden
    table = element_wise(moved, launch, host.moved) + gemm(rows, hidden, narrow, speeds.plain)
    table += gemms_us((layer_inputs_gemm(backbone),), rows, speeds.plain)
    table += (backbone.table_norm + backbone.fused_norms) * element_wise(moved, launch, host.moved)
    table += gemm(rows, hidden, 2 * backbone.fused * hidden, speeds.plain)
    logit_rows = rows if one.decode > 0 else one.sequences
    head = gemm(logit_rows, backbone.vocabulary, table_width(backbone), speeds.plain)
    head += gemm(logit_rows, narrow, hidden, speeds.plain) + host.head
    reduced = reduce_us(rows * hidden * VALUE, layout.tensor, speeds)
    logits = reduce_us(logit_rows * backbone.vocabulary * VALUE, layout.tensor, speeds)
    collapse = gemm(rows, backbone.streams, backbone.streams * hidden, speeds.plain)
    collapse += 2.0 * gemms_us((into_streams(backbone),), rows, speeds.plain)
    return EndTimes(
        embedding=ends.table * table,
        collapse=ends.last * collapse,
        final_norm=ends.last * backbone.final_norm * element_wise(moved, launch, host.moved),
        head=ends.head * head,
        collectives=ends.table * reduced
        + ends.head * logits
        + handed_on_us(backbone, layout, rows, speeds),
    )
