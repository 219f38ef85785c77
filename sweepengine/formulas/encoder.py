"""Vision encoder of DeepSeek-OCR 2: layers of a language model over patches and queries.

Queries stand behind the `q*q` features of SAM, and what they become are the image's tokens.
Source: transformers 5.23, modeling_deepseek_ocr2.py.
"""

from typing import NamedTuple

from sweepengine.formulas.attention import score_values
from sweepengine.formulas.cost import (
    Cost,
    attention_cost,
    element_wise_cost,
    formula,
    gemm_cost,
    scaled,
)
from sweepengine.formulas.gemms import mlp_gemms
from sweepengine.formulas.operators import block_peak, mlp, residual_add, rms_norm, table
from sweepengine.formulas.towers import Encoder, Image


class EncoderBlock(NamedTuple):
    """Operators of one pre-norm layer."""

    norms: Cost
    projections: Cost
    rotary: Cost
    attention: Cost
    mlp: Cost
    residuals: Cost


class EncoderEnds(NamedTuple):
    """What stands before and behind the layers."""

    queries: Cost
    final_norm: Cost


@formula
def encoder_projections(encoder: Encoder, tokens: int) -> Cost:
    """Queries, keys, values with biases, and output: tensor `2*S*(2*w*w + 2*w*Nkv*d)`."""
    width = encoder.width
    both = 2 * encoder.key_value_heads * (width // encoder.heads)
    matrices = width * (2 * width + both)
    weights = matrices + width + both
    moved = 2 * tokens * width
    return gemm_cost(2 * tokens * matrices, 0, moved, moved, moved, weights)


@formula
def encoder_rotary(encoder: Encoder, tokens: int) -> Cost:
    """Rotary embedding of queries and keys: CUDA `3*S*(Nh+Nkv)*d`."""
    heads = encoder.heads + encoder.key_value_heads
    return element_wise_cost(3 * tokens * heads * (encoder.width // encoder.heads), 0, 0, 0, 0)


@formula
def encoder_attention(encoder: Encoder, tokens: int, flash: int) -> Cost:
    """Scores, softmax, mixing over all pairs, as torch counts: tensor `4*S*S*w`; CUDA `5*Nh*S*S`.

    Moves queries, keys and values, eager also the scores twice. Alive at once: those and mixed
    values, eager scores and probabilities.
    """
    width = encoder.width
    both = 2 * encoder.key_value_heads * (width // encoder.heads)
    scores = 2 * score_values(encoder.heads, tokens, tokens, flash)
    moved = tokens * (width + both) + scores
    softmax = 5 * encoder.heads * tokens * tokens
    alive = moved + tokens * width
    return attention_cost(4 * tokens * tokens * width, softmax, moved, 0, alive, moved, 0)


@formula
def encoder_block(encoder: Encoder, tokens: int, flash: int) -> EncoderBlock:
    """Layer on S tokens, `x + attention`, `x + MLP`, pre-norm."""
    width = encoder.width
    return EncoderBlock(
        scaled(rms_norm(tokens, width), 2, 2),
        encoder_projections(encoder, tokens),
        encoder_rotary(encoder, tokens),
        encoder_attention(encoder, tokens, flash),
        mlp(tokens, mlp_gemms(encoder.mlp_width, width, 3), 4, 0),
        scaled(residual_add(tokens * width), 2, 2),
    )


@formula
def encoder_ends(image: Image, encoder: Encoder, tokens: int) -> EncoderEnds:
    """Tables of queries, of which a view reads one, and the norm behind all layers."""
    queries = min(encoder.layers, 1) * (image.few_queries + image.many_queries)
    normed = min(encoder.layers, 1)
    return EncoderEnds(
        table(queries * encoder.width),
        scaled(rms_norm(tokens, encoder.width), normed, normed),
    )


@formula
def encoder_block_peak(block: EncoderBlock, encoder: Encoder, tokens: int, flash: int) -> int:
    """Values alive at once, `block_peak`."""
    scores = score_values(encoder.heads, tokens, tokens, flash)
    residual = tokens * encoder.width
    return block_peak(block.norms, block.projections, block.attention, block.mlp, residual, scores)
