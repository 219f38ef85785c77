"""Vision, prefill and decode: compositions of layers, and the totals of one point."""

from typing import NamedTuple

from sweepengine.architecture import Architecture
from sweepengine.cost import Cost, add, formula, layer_cost, side_by_side, times, with_peak
from sweepengine.geometry import (
    VisionWorkload,
    image_tokens,
    tokens_per_edge,
    vision_workload,
)
from sweepengine.layers import decoder as dec
from sweepengine.layers import vision as vis
from sweepengine.layers.decoder import Heads
from sweepengine.layers.residual import FLASH


@formula
def encode_view(arch: Architecture, side: int, attention_kind: int) -> Cost:
    """SAM and CLIP on one view of `side` pixels."""
    return add(
        vis.image_encoder_vit(arch, side, attention_kind),
        vis.vit_model(arch, vis.clip_tokens(arch, side), attention_kind),
    )


@formula
def projected_tokens(arch: Architecture, workload: VisionWorkload) -> int:
    """Tokens through the projector: `q_G^2 + n*q_T^2`.

    The published accounting takes them with newlines, `q_G*(q_G+1)`, and takes the tokens of all
    tiles once for each tile, so that they grow with the square of the tiles.
    """
    view_edge = tokens_per_edge(arch, workload.view_size)
    tile_edge = tokens_per_edge(arch, workload.tile_size)
    view = view_edge * (view_edge + arch.projector.newline_tokens)
    plain = workload.tiles * tile_edge * tile_edge
    tiles = plain + arch.projector.newline_tokens * (workload.tile_tokens - plain)
    return view + tiles * (1 + arch.projector.repeats_tiles * (max(workload.tiles, 1) - 1))


@formula
def vision(arch: Architecture, workload: VisionWorkload, attention_kind: int) -> Cost:
    """Vision stage of one image: SAM + CLIP on the global view and on each tile, projector.

    Views and tiles share the weights, which are read once a pass. The peak is that of all tiles
    of an image at once, or of the global view beside the tiles' projected tokens.
    Check, tensor: 1,139,967,033,344 without tiles; each 640 px tile adds 388,149,837,824.
    """
    view = encode_view(arch, workload.view_size, attention_kind)
    tile = encode_view(arch, workload.tile_size, attention_kind)
    tiles = side_by_side(tile, workload.tiles)
    projector = vis.mlp_projector(arch, projected_tokens(arch, workload))
    separators = 2 * arch.projector.output_width * arch.accounting.separator_weights
    tile_edge = tokens_per_edge(arch, workload.tile_size)
    kept = workload.tiles * tile_edge * tile_edge * arch.projector.output_width
    return layer_cost(
        tensor_flops=view.tensor_flops + tiles.tensor_flops + projector.tensor_flops,
        cuda_flops=view.cuda_flops + tiles.cuda_flops + projector.cuda_flops,
        activation_io=view.activation_io + tiles.activation_io + projector.activation_io,
        weight_io=view.weight_io + projector.weight_io + separators,
        activation_peak=max(
            tiles.activation_peak, kept + view.activation_peak, projector.activation_peak
        ),
        activation_sum=view.activation_sum + tiles.activation_sum + projector.activation_sum,
        weights=(view.weights + projector.weights + separators) * arch.accounting.vision_copies,
    )


@formula
def language_model(arch: Architecture, tokens: int, attended: int, heads: Heads) -> Cost:
    """Decoder and head over `tokens` tokens of one image that attend to `attended` tokens each.

    The peak of eager attention keeps one score matrix beside the widest layer, the head included:
    the modules return it to their caller.
    """
    dense = dec.deepseek_v2_decoder_layer_dense(arch, tokens, attended, heads)
    sparse = dec.deepseek_v2_decoder_layer_moe(arch, tokens, attended, heads)
    layers = add(
        times(dense, arch.decoder.dense_layers),
        times(sparse, arch.decoder.layers - arch.decoder.dense_layers),
    )
    rotary = times(dec.llama_rotary_embedding(arch, tokens, heads), arch.decoder.layers)
    body = add(add(layers, rotary), add(dec.token_embedding(arch), dec.final_norm(arch, tokens)))
    head = dec.lm_head(arch, tokens)
    scores = dec.decoder_scores(tokens, attended, heads)
    return with_peak(add(body, head), max(body.activation_peak, head.activation_peak + scores))


@formula
def prefill(arch: Architecture, context_tokens: int, heads: Heads) -> Cost:
    """Prefill stage of one image: decoder and head over the whole context.

    Check, tensor, context 493, defaults: 580,991,712,768.
    """
    return language_model(arch, context_tokens, context_tokens, heads)


@formula
def attended_in_step(arch: Architecture, context_tokens: int, step: int) -> int:
    """Tokens that decode step `step` (0-based) attends to: `context + step + 1`.

    The published accounting leaves the step's own token out.
    """
    return context_tokens + step + arch.accounting.step_attends_itself


@formula
def decode_step(arch: Architecture, attended: int, heads: Heads) -> Cost:
    """One token of one image through decoder and head, attending to `attended` tokens."""
    return language_model(arch, 1, attended, heads)


@formula
def over_steps(first: int, growth: int, steps: int) -> int:
    """Sum over `steps` steps of a cost that is `first` and then grows by `growth` a step."""
    return steps * first + growth * (steps * (steps - 1) // 2)


def all_steps(first: Cost, second: Cost, steps: int) -> Cost:
    """Counts over `steps` steps, given the costs of the first two: each count grows evenly."""
    return Cost(
        *(over_steps(one, two - one, steps) for one, two in zip(first, second, strict=True))
    )


@formula
def touched_experts(arch: Architecture, tokens: int) -> float:
    """Distinct routed experts that a pass over `tokens` tokens touches, in expectation.

    `64*(1 - (1 - 6/64)^t)`: routing is taken as uniform.
    """
    share = arch.decoder.experts_per_token / arch.decoder.experts
    untouched: float = (1.0 - share) ** float(tokens)
    return arch.decoder.experts * (1.0 - untouched)


@formula
def weight_io_bytes(arch: Architecture, read_once: int, read_per_expert: int, tokens: int) -> float:
    """Expected bytes of weights that one decoder pass over `tokens` tokens of the batch reads.

    Every distinct weight once, experts as far as touched, and of the token table one row a
    token (at most the whole table).
    """
    rows = min(tokens, arch.decoder.vocabulary) * arch.accounting.embedding_weights
    values = (
        float(read_once + rows * arch.decoder.hidden)
        + touched_experts(arch, tokens) * read_per_expert
    )
    return values * arch.accounting.dtype_bytes * arch.accounting.weight_io


@formula
def activation(arch: Architecture, cost: Cost) -> int:
    """Activation values as the model's accounting reports them: real peak, or sum over layers."""
    summed = arch.accounting.activation_sum
    return cost.activation_sum * summed + cost.activation_peak * (1 - summed)


@formula
def cache_bytes_per_token(arch: Architecture, heads: Heads) -> int:
    """Bytes of keys and values of one token in all layers: `2*12*Nkv*d` values."""
    values = 2 * arch.decoder.layers * dec.key_value_width(arch, heads)
    return values * arch.accounting.dtype_bytes


@formula
def cached_tokens(arch: Architecture, context_tokens: int, decode_steps: int) -> int:
    """Tokens in the cache after decoding: `context + K`, the last token's own included.

    The published accounting leaves that one out, as no step ever reads it: `context + K - 1`.
    """
    left_out = (1 - arch.accounting.cache_holds_last_token) * min(decode_steps, 1)
    return context_tokens + decode_steps - left_out


class StepActivation(NamedTuple):
    """Activation values of a decode step over L attended tokens: the larger of two lines in L.

    Only attention's scores grow with L, so a step is as wide as its widest layer without
    scores (`low`) or, from some L on, as its attention (`high`).
    """

    low: int
    low_slope: int
    high: int
    high_slope: int


FAR = 2**31
"""More tokens than any step attends to: there attention is the widest layer."""


@formula
def step_activation(arch: Architecture, heads: Heads) -> StepActivation:
    """Lines through the activation values of steps that attend to 0 and 1, and to very many."""
    low = activation(arch, decode_step(arch, 0, heads))
    low_slope = activation(arch, decode_step(arch, 1, heads)) - low
    far = activation(arch, decode_step(arch, FAR, heads))
    high_slope = activation(arch, decode_step(arch, FAR + 1, heads)) - far
    return StepActivation(low, low_slope, far - high_slope * FAR, high_slope)


@formula
def last_step_activation(
    arch: Architecture, lines: StepActivation, context_tokens: int, decode_steps: int
) -> int:
    """Activation values of the largest decode step, which is the last; 0 without steps."""
    attended = attended_in_step(arch, context_tokens, max(decode_steps, 1) - 1)
    low = lines.low + lines.low_slope * attended
    high = lines.high + lines.high_slope * attended
    return max(low, high) * min(decode_steps, 1)


def own_heads(arch: Architecture, attention: int = FLASH) -> Heads:
    """Heads of the model's own."""
    return Heads(arch.decoder.attention_heads, arch.decoder.key_value_heads, attention)


def parameter_parts(arch: Architecture, heads: Heads) -> dict[str, int]:
    """Parameters held, by part of the model."""
    side = arch.image.patch_size * arch.image.patches_per_token
    copies = arch.accounting.vision_copies
    head = dec.lm_head(arch, 1).weights
    separators = 2 * arch.projector.output_width * arch.accounting.separator_weights
    return {
        "SAM": copies * vis.image_encoder_vit(arch, side, FLASH).weights,
        "CLIP": copies * vis.vit_model(arch, 1, FLASH).weights,
        "projector": copies * (vis.mlp_projector(arch, 1).weights + separators),
        "decoder": prefill(arch, 1, heads).weights - head,
        "LM head": head,
    }


def parameter_count(arch: Architecture, heads: Heads) -> int:
    """Parameters of the whole model (formulas.md, section 6: 3,336,106,240 as released)."""
    return sum(parameter_parts(arch, heads).values())


class Point(NamedTuple):
    """Input columns of one point; `attention` is its position in `ATTENTIONS`."""

    view_size: int
    tile_size: int
    crop_rows: int
    crop_cols: int
    text_tokens: int
    decode_steps: int
    batch_size: int
    attention_heads: int
    key_value_heads: int
    attention: int

    @property
    def heads(self) -> Heads:
        """How the decoder attends."""
        return Heads(self.attention_heads, self.key_value_heads, self.attention)


def point_workload(arch: Architecture, point: Point) -> VisionWorkload:
    """Vision workload of a point."""
    return vision_workload(arch, point.view_size, point.tile_size, point.crop_rows, point.crop_cols)


def point_columns(
    arch: Architecture, point: Point, workload: VisionWorkload | None = None
) -> dict[str, int | float]:
    """All output columns of one point in plain Python: unbounded integers, nothing compiled.

    Parameters
    ----------
    workload : VisionWorkload, optional
        Instead of the point's own geometry, for bounds over many points.
    """
    if workload is None:
        workload = point_workload(arch, point)
    heads = point.heads
    tokens = image_tokens(workload)
    context = tokens + point.text_tokens
    batch, steps = point.batch_size, point.decode_steps
    size = arch.accounting.dtype_bytes
    seen = vision(arch, workload, point.attention)
    filled = prefill(arch, context, heads)
    first = decode_step(arch, attended_in_step(arch, context, 0), heads)
    second = decode_step(arch, attended_in_step(arch, context, 1), heads)
    columns: dict[str, int | float] = {"image_tokens": tokens, "context_tokens": context}

    def stage(name: str, cost: Cost, weight_io: float, activation_values: int) -> None:
        columns[f"{name}_tensor_flops"] = batch * cost.tensor_flops
        columns[f"{name}_cuda_flops"] = batch * cost.cuda_flops
        columns[f"{name}_activation_io_bytes"] = batch * size * cost.activation_io
        columns[f"{name}_weight_io_bytes"] = weight_io
        columns[f"{name}_kv_io_bytes"] = batch * size * cost.kv_io
        columns[f"{name}_activation_bytes"] = batch * size * activation_values

    vision_weight_io = float(seen.weight_io * size * arch.accounting.weight_io)
    prefill_weight_io = weight_io_bytes(arch, filled.weight_io, filled.expert_io, batch * context)
    step_weight_io = weight_io_bytes(arch, first.weight_io, first.expert_io, batch)
    lines = step_activation(arch, heads)
    last = last_step_activation(arch, lines, context, steps)
    stage("vision", seen, vision_weight_io, activation(arch, seen))
    stage("prefill", filled, prefill_weight_io, activation(arch, filled))
    stage("decode", all_steps(first, second, steps), steps * step_weight_io, last)
    per_token = cache_bytes_per_token(arch, heads)
    columns["prefill_kv_cache_bytes"] = batch * per_token * context
    columns["decode_kv_cache_bytes"] = batch * per_token * cached_tokens(arch, context, steps)
    return columns
