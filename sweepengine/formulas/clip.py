"""CLIP on `S = q*q + 1` tokens of one view (docs/vision.md, "CLIP"), and the projector."""

from typing import NamedTuple

from sweepengine.formulas.attention import score_values
from sweepengine.formulas.cost import (
    Cost,
    attention_cost,
    element_wise_cost,
    formula,
    gemm_cost,
    scaled,
    with_weights,
)
from sweepengine.formulas.gemms import mlp_gemms
from sweepengine.formulas.operators import block_peak, linear, mlp, norm, residual_add
from sweepengine.formulas.towers import Clip, Image, Projector


class ClipBlock(NamedTuple):
    """Operators of one pre-norm block (NoTPTransformerBlock)."""

    norms: Cost
    projections: Cost
    attention: Cost
    mlp: Cost
    residuals: Cost


class ClipEnds(NamedTuple):
    """What stands before the blocks."""

    embeddings: Cost
    pre_norm: Cost


@formula
def clip_block(clip: Clip, tokens: int, flash: int) -> ClipBlock:
    """NoTPAttention: tensor `8*S*1024^2 + 4*S^2*1024`. NoTPFeedForward: `4*S*1024*4096`, CUDA 5."""
    width = clip.width
    weights = 4 * width * width + 4 * width * clip.bias
    moved = 2 * tokens * width
    return ClipBlock(
        scaled(norm(tokens * width, 5, 2 * width, 0), 2, 2),
        gemm_cost(8 * tokens * width * width, 0, moved, moved, moved, weights),
        clip_attention(clip, tokens, flash),
        mlp(tokens, mlp_gemms(clip.mlp_width, width, 2), 5, clip.bias),
        scaled(residual_add(tokens * width), 2, 2),
    )


@formula
def clip_attention(clip: Clip, tokens: int, flash: int) -> Cost:
    """Scores, softmax, mixing: tensor `4*S^2*1024`; CUDA softmax `5*16*S^2`.

    With the projections it moves widths a token and scores a token pair as the model file says,
    and the published sum holds the same. Alive at once: Q, K, V, mixed values, eager scores.
    """
    width, pairs = clip.width, tokens * tokens
    widths = (1 - flash) * clip.eager_io_widths + flash * clip.flash_io_widths - 2
    moved = tokens * width * widths + (1 - flash) * clip.eager_io_scores * pairs
    alive = 4 * tokens * width + 2 * score_values(clip.heads, tokens, tokens, flash)
    return attention_cost(4 * pairs * width, 5 * clip.heads * pairs, moved, 0, alive, moved, 0)


@formula
def clip_block_peak(block: ClipBlock, clip: Clip, tokens: int, flash: int) -> int:
    """Values alive at once, `block_peak`."""
    scores = score_values(clip.heads, tokens, tokens, flash)
    residual = tokens * clip.width
    return block_peak(block.norms, block.projections, block.attention, block.mlp, residual, scores)


@formula
def patch_convolution(image: Image, clip: Clip, side: int) -> Cost:
    """The standalone embedding's patch convolution: tensor `2*256*14*14*3*1024` at 224 px."""
    per_edge = side // clip.patch_size
    fan_in = image.channels * clip.patch_size * clip.patch_size
    return linear(per_edge * per_edge, fan_in, clip.width, 0)


@formula
def clip_ends(image: Image, clip: Clip, tokens: int) -> ClipEnds:
    """CLIPVisionEmbeddings on SAM's features, and the one LayerNorm outside the blocks.

    The embedding adds a class token and positions: moves `2*1024*S`, no FLOPs counted. The patch
    convolution is held in memory, but SAM's features replace its output, so a pass neither runs
    nor reads it. LayerNorm: CUDA `5*S*1024`.
    """
    width = clip.width
    moved = width * (clip.embedding_io_tokens + clip.embedding_io_per_token * tokens)
    per_edge = clip.image_size // clip.patch_size
    tables = width * (per_edge * per_edge + 2)
    unused = patch_convolution(image, clip, clip.image_size).weights
    return ClipEnds(
        with_weights(element_wise_cost(0, moved, moved, moved, 0), tables, tables + unused),
        norm(tokens * width, 5, 2 * width, 0),
    )


@formula
def mlp_projector(projector: Projector, tokens: int) -> Cost:
    """MlpProjector on `N` tokens, 2048 to 1280: tensor `2*N*2048*1280` a first linear layer.

    Further layers are 1280 to 1280, with GELU (CUDA `4*N*1280` a layer) where the model says so.
    Moves `N*(2048+1280)`, its inside being fused.
    """
    width = projector.output_width
    matrices = width * (projector.input_width + (projector.layers - 1) * width)
    weights = matrices + projector.layers * width * projector.bias
    moved = tokens * (projector.input_width + width)
    gelu = 4 * tokens * width * projector.layers * projector.gelu
    return gemm_cost(2 * tokens * matrices, gelu, moved, moved, moved, weights)
