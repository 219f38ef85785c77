"""DeepSeek-V2 decoder: formulas.md, section 5.

`tokens` (T) run through a layer and attend to `attended` (L) tokens each; a decode step has T=1.
"""

from typing import NamedTuple

from sweepengine.architecture import Architecture
from sweepengine.cost import Cost, add, formula, layer_cost, with_peak
from sweepengine.layers.residual import EAGER, FLASH, residual_block, score_values


class Heads(NamedTuple):
    """How the decoder attends: its heads, and the implementation."""

    attention_heads: int
    """Query heads, `Nh`."""
    key_value_heads: int
    """`Nkv`."""
    attention: int
    """Position in `ATTENTIONS`."""


@formula
def head_width(arch: Architecture, heads: Heads) -> int:
    """Width of one head: `d = h/Nh`."""
    return arch.decoder.hidden // heads.attention_heads


@formula
def key_value_width(arch: Architecture, heads: Heads) -> int:
    """Width of keys (and of values) of one token: `Nkv*d`."""
    return head_width(arch, heads) * heads.key_value_heads


@formula
def decoder_scores(tokens: int, attended: int, heads: Heads) -> int:
    """Values of one layer's score matrix; flash keeps none."""
    return score_values(heads.attention, heads.attention_heads, tokens, attended)


@formula
def decoder_attention(arch: Architecture, tokens: int, attended: int, heads: Heads) -> Cost:
    """Self-attention with grouped heads.

    tensor: projections `4*T*h^2*(1 + Nkv/Nh)`, core `4*T*L*h` (the full square: no causal
    saving); CUDA softmax `5*heads*T*L`, rotary application `3*T*h*(1 + Nkv/Nh)`; moves
    `T*h*(3 + 2*Nkv/Nh)`, eager also `2*heads*T*L`. KV: `2*Nkv*d` values for each of L tokens:
    prefill (L=T) writes them, a decode step reads L-1 and writes one.
    Alive at once: input, Q, K, V, mixed values, output; eager: scores and probabilities. K and V
    of earlier tokens are the cache's, not an activation.
    """
    hidden = arch.decoder.hidden
    kv_width = key_value_width(arch, heads)
    scores = heads.attention_heads * tokens * attended
    moved_scores = 2 * decoder_scores(tokens, attended, heads)
    weights = 2 * hidden * (hidden + kv_width)
    moved = tokens * (3 * hidden + 2 * kv_width)
    return layer_cost(
        tensor_flops=4 * tokens * hidden * (hidden + kv_width) + 4 * tokens * attended * hidden,
        cuda_flops=(5 * scores + 3 * tokens * (hidden + kv_width))
        * arch.accounting.elementwise_cuda,
        activation_io=moved + moved_scores,
        weight_io=weights,
        kv_io=2 * kv_width * attended * arch.accounting.kv_io,
        activation_peak=moved + tokens * hidden + moved_scores,
        activation_sum=moved + heads.attention * tokens * hidden + moved_scores,
        weights=weights,
    )


@formula
def llama_attention(arch: Architecture, tokens: int, attended: int, heads: Heads) -> Cost:
    """LlamaAttention: eager, the score matrix is written out."""
    chosen = Heads(heads.attention_heads, heads.key_value_heads, EAGER)
    return decoder_attention(arch, tokens, attended, chosen)


@formula
def llama_flash_attention_2(arch: Architecture, tokens: int, attended: int, heads: Heads) -> Cost:
    """LlamaFlashAttention2: the same FLOPs, no score matrix."""
    chosen = Heads(heads.attention_heads, heads.key_value_heads, FLASH)
    return decoder_attention(arch, tokens, attended, chosen)


@formula
def llama_rotary_embedding(arch: Architecture, tokens: int, heads: Heads) -> Cost:
    """LlamaRotaryEmbedding: the angles as a matrix product, `2*T*d/2 = T*d` tensor FLOPs.

    Its cosines and sines are a rounding error of the layer's I/O and are not counted.
    """
    flops = tokens * head_width(arch, heads)
    return layer_cost(tensor_flops=flops * arch.accounting.rotary_embedding)


@formula
def deepseek_v2_mlp(arch: Architecture, tokens: int, width: int) -> Cost:
    """DeepseekV2MLP (SwiGLU) of hidden `width` i: tensor `6*T*h*i`; CUDA `4*T*i`.

    Moves `T*(2h+i)`, gate and up being fused; alive at once: input, activated gate, up, their
    product, output.
    """
    hidden = arch.decoder.hidden
    moved = tokens * (2 * hidden + width)
    weights = 3 * hidden * width
    return layer_cost(
        tensor_flops=6 * tokens * hidden * width,
        cuda_flops=4 * tokens * width,
        activation_io=moved,
        weight_io=weights,
        activation_peak=tokens * (2 * hidden + 3 * width),
        activation_sum=moved,
        weights=weights,
    )


@formula
def moe_gate(arch: Architecture, tokens: int) -> Cost:
    """MoEGate: one logit an expert, softmax, top-k. tensor `2*T*h*64`; CUDA `6*T*64`.

    Reads h, writes logits and the weights of the chosen: `T*(h+64+6)`. The published sum holds
    what it writes.
    """
    logits = tokens * arch.decoder.experts
    written = logits + tokens * arch.decoder.experts_per_token
    weights = arch.decoder.hidden * arch.decoder.experts
    return layer_cost(
        tensor_flops=2 * logits * arch.decoder.hidden,
        cuda_flops=6 * logits,
        activation_io=tokens * arch.decoder.hidden + written,
        weight_io=weights,
        activation_peak=tokens * arch.decoder.hidden + written,
        activation_sum=written,
        weights=weights,
    )


@formula
def routed_experts(arch: Architecture, tokens: int) -> Cost:
    """The routed experts: each token goes through 6 of them, six times a DeepseekV2MLP.

    Weights are read by expert: `expert_io` for each distinct one that the pass touches.
    """
    copies = tokens * arch.decoder.experts_per_token
    routed = deepseek_v2_mlp(arch, copies, arch.decoder.expert_width)
    return layer_cost(
        tensor_flops=routed.tensor_flops,
        cuda_flops=routed.cuda_flops,
        activation_io=routed.activation_io,
        expert_io=routed.weights,
        activation_peak=routed.activation_peak,
        activation_sum=routed.activation_sum,
        weights=routed.weights * arch.accounting.experts_held,
    )


@formula
def deepseek_v2_moe(arch: Architecture, tokens: int) -> Cost:
    """DeepseekV2MoE: gate + 6 routed experts + shared experts, each a DeepseekV2MLP.

    Its input stays alive for the shared experts, which run beside the routed output.
    """
    stream = tokens * arch.decoder.hidden
    gate = moe_gate(arch, tokens)
    routed = routed_experts(arch, tokens)
    shared = deepseek_v2_mlp(arch, tokens, arch.decoder.shared_width)
    widest = max(routed.activation_peak, stream + shared.activation_peak)
    return with_peak(add(gate, add(routed, shared)), gate.activation_peak + widest)


@formula
def deepseek_v2_rms_norm(arch: Architecture, tokens: int) -> Cost:
    """DeepseekV2RMSNorm: CUDA `3*T*h`; reads and writes, `2*T*h`."""
    values = tokens * arch.decoder.hidden
    weights = arch.decoder.hidden
    return layer_cost(
        cuda_flops=3 * values,
        activation_io=2 * values,
        weight_io=weights,
        activation_peak=2 * values,
        activation_sum=2 * values,
        weights=weights,
    )


@formula
def final_norm(arch: Architecture, tokens: int) -> Cost:
    """The RMSNorm before the head; the published accounting leaves it out."""
    norm = deepseek_v2_rms_norm(arch, tokens)
    weights = norm.weights * arch.accounting.final_norm_weights
    return layer_cost(
        cuda_flops=norm.cuda_flops * arch.accounting.elementwise_cuda,
        activation_io=norm.activation_io * arch.accounting.norm_and_residual_io,
        weight_io=weights,
        activation_peak=norm.activation_peak,
        weights=weights,
    )


@formula
def deepseek_v2_decoder_layer(
    arch: Architecture, tokens: int, attended: int, heads: Heads, feed_forward: Cost
) -> Cost:
    """DeepseekV2DecoderLayer around `feed_forward`: attention, two RMSNorms, two residual adds."""
    return residual_block(
        arch,
        decoder_attention(arch, tokens, attended, heads),
        feed_forward,
        deepseek_v2_rms_norm(arch, tokens),
        tokens * arch.decoder.hidden,
        decoder_scores(tokens, attended, heads),
    )


@formula
def deepseek_v2_decoder_layer_dense(
    arch: Architecture, tokens: int, attended: int, heads: Heads
) -> Cost:
    """DeepseekV2DecoderLayer with one DeepseekV2MLP of width 6848 (layer 0)."""
    feed_forward = deepseek_v2_mlp(arch, tokens, arch.decoder.dense_width)
    return deepseek_v2_decoder_layer(arch, tokens, attended, heads, feed_forward)


@formula
def deepseek_v2_decoder_layer_moe(
    arch: Architecture, tokens: int, attended: int, heads: Heads
) -> Cost:
    """DeepseekV2DecoderLayer with a DeepseekV2MoE (layers 1 to 11)."""
    feed_forward = deepseek_v2_moe(arch, tokens)
    return deepseek_v2_decoder_layer(arch, tokens, attended, heads, feed_forward)


@formula
def token_embedding(arch: Architecture) -> Cost:
    """The token table: held in memory; a pass reads one row a token (`stages.weight_io`)."""
    weights = arch.decoder.vocabulary * arch.decoder.hidden * arch.accounting.embedding_weights
    return layer_cost(weights=weights)


@formula
def lm_head(arch: Architecture, tokens: int) -> Cost:
    """LMHead: tensor `2*T*h*V`; moves `T*(h+V)`, all positions' logits being written."""
    hidden = arch.decoder.hidden
    weights = hidden * arch.decoder.vocabulary
    moved = tokens * (hidden + arch.decoder.vocabulary)
    return layer_cost(
        tensor_flops=2 * tokens * weights,
        activation_io=moved,
        weight_io=weights,
        activation_peak=moved,
        activation_sum=moved,
        weights=weights,
    )
