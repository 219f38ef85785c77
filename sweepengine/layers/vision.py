"""SAM encoder, CLIP transformer and projector: formulas.md, sections 2 to 4.

Sizes are of one view. Tokens of SAM are patches (`P`), tokens of CLIP are `S = q*q + 1`.
"""

from sweepengine.architecture import Architecture
from sweepengine.cost import Cost, add, formula, layer_cost, times
from sweepengine.geometry import ceil_div, patches_per_edge, tokens_per_edge
from sweepengine.layers.residual import layer_norm, residual_block, score_values


@formula
def patch_embed(arch: Architecture, side: int) -> Cost:
    """PatchEmbed on a view of `side` pixels: tensor `2*P*16*16*3*768`; input + output moved."""
    edge = patches_per_edge(arch, side)
    width = arch.sam.width
    fan_in = arch.image.patch_size * arch.image.patch_size * arch.image.channels
    weights = fan_in * width + width * arch.accounting.bias_weights
    moved = side * side * arch.image.channels + edge * edge * width
    return layer_cost(
        tensor_flops=2 * edge * edge * fan_in * width,
        activation_io=moved,
        weight_io=weights,
        activation_peak=moved,
        activation_sum=moved,
        weights=weights,
    )


@formula
def attention(arch: Architecture, windows: int, edge: int, attention_kind: int) -> Cost:
    """SAM Attention over `windows` windows of `edge` x `edge` tokens (`b`, `S = e*e`).

    tensor `8*b*S*768^2 + 4*b*S^2*768 + rel`, `rel = rel_pos_flops * b*12*S*(2e)`;
    CUDA softmax `5*12*b*S^2`; reads its input, writes and reads Q, K, V, writes its output;
    eager writes and reads the scores. Alive at once: input, Q, K, V, mixed values and output,
    and for eager scores and probabilities. The published sum holds 6 widths a token, however
    attention is done.
    """
    width = arch.sam.width
    heads = arch.sam.heads
    window = edge * edge
    tokens = windows * window
    relative = arch.sam.relative_position_flops * tokens * heads * 2 * edge
    moved_scores = 2 * score_values(attention_kind, heads, tokens, window)
    tables = 2 * (2 * edge - 1) * (width // heads) * arch.accounting.position_weights
    weights = 4 * width * width + 4 * width * arch.accounting.bias_weights + tables
    return layer_cost(
        tensor_flops=8 * tokens * width * width + 4 * tokens * window * width + relative,
        cuda_flops=5 * heads * tokens * window * arch.accounting.elementwise_cuda,
        activation_io=5 * tokens * width + moved_scores,
        weight_io=weights,
        activation_peak=6 * tokens * width + moved_scores,
        activation_sum=6 * tokens * width,
        weights=weights,
    )


@formula
def mlp(arch: Architecture, tokens: int, width: int, hidden: int, activation_flops: int) -> Cost:
    """Two linear layers around an activation of `activation_flops` FLOPs a hidden value.

    tensor `4*T*width*hidden`; moves `T*(2*width + hidden)`, the activation being fused; alive
    at once: input, hidden values before and after the activation, output.
    """
    weights = 2 * width * hidden + (width + hidden) * arch.accounting.bias_weights
    moved = tokens * (2 * width + hidden)
    return layer_cost(
        tensor_flops=4 * tokens * width * hidden,
        cuda_flops=activation_flops * tokens * hidden,
        activation_io=moved,
        weight_io=weights,
        activation_peak=2 * tokens * (width + hidden),
        activation_sum=moved,
        weights=weights,
    )


@formula
def mlp_block(arch: Architecture, tokens: int) -> Cost:
    """MLPBlock of SAM: tensor `4*P*768*3072`; CUDA (GELU) `4*P*3072`."""
    return mlp(arch, tokens, arch.sam.width, arch.sam.mlp_width, 4)


@formula
def block(arch: Architecture, grid_edge: int, window_edge: int, attention_kind: int) -> Cost:
    """Block of SAM on a grid of patches: Attention + MLPBlock, two norms, two residual adds.

    `window_edge` is 0 for attention over the whole grid; otherwise the grid is padded to
    `W = ceil(g/14)^2` windows. Norms and MLP see the patches without padding.
    """
    patches = grid_edge * grid_edge
    edge = window_edge if window_edge > 0 else grid_edge
    windows_per_edge = ceil_div(grid_edge, edge)
    windows = windows_per_edge * windows_per_edge
    return residual_block(
        arch,
        attention(arch, windows, edge, attention_kind),
        mlp_block(arch, patches),
        layer_norm(arch, patches, arch.sam.width),
        patches * arch.sam.width,
        score_values(attention_kind, arch.sam.heads, windows * edge * edge, edge * edge),
    )


@formula
def layer_norm_2d(arch: Architecture, tokens: int) -> Cost:
    """LayerNorm2d of the neck: CUDA `5*256*P`; moves `4*256*P` (statistics, then the scaling)."""
    values = tokens * arch.sam.neck_width
    weights = 2 * arch.sam.neck_width
    return layer_cost(
        cuda_flops=5 * values,
        activation_io=4 * values,
        weight_io=weights,
        activation_peak=2 * values,
        activation_sum=values,
        weights=weights,
    )


@formula
def convolution(tokens_in: int, tokens_out: int, width_in: int, width_out: int, side: int) -> Cost:
    """Convolution of the neck without bias: tensor `2*P_out*side^2*in*out`; input + output moved.

    The published activation sum holds the output alone.
    """
    weights = side * side * width_in * width_out
    out = tokens_out * width_out
    moved = tokens_in * width_in + out
    return layer_cost(
        tensor_flops=2 * tokens_out * weights,
        activation_io=moved,
        weight_io=weights,
        activation_peak=moved,
        activation_sum=out,
        weights=weights,
    )


@formula
def neck_convolutions(arch: Architecture, grid_edge: int) -> Cost:
    """Neck and downsampling: 1x1, 3x3, then two 3x3 of stride 2, whose sizes are `ceil`.

    tensor `2*P*768*256`, `2*P*9*256*256`, `2*(P/4)*9*256*512`, `2*(P/16)*9*512*1024`.
    """
    patches = grid_edge * grid_edge
    half_edge = ceil_div(grid_edge, 2)
    half = half_edge * half_edge
    quarter_edge = ceil_div(half_edge, 2)
    quarter = quarter_edge * quarter_edge
    width = arch.sam.neck_width
    downsampled = arch.sam.downsample_width
    shrink = add(
        convolution(patches, half, width, downsampled, 3),
        convolution(half, quarter, downsampled, arch.sam.output_width, 3),
    )
    project = add(
        convolution(patches, patches, arch.sam.width, width, 1),
        convolution(patches, patches, width, width, 3),
    )
    return add(project, shrink)


@formula
def neck(arch: Architecture, grid_edge: int) -> Cost:
    """Neck: its four convolutions, and a LayerNorm2d after each of the first two."""
    norms = times(layer_norm_2d(arch, grid_edge * grid_edge), 2)
    return add(neck_convolutions(arch, grid_edge), norms)


@formula
def image_encoder_vit(arch: Architecture, side: int, attention_kind: int) -> Cost:
    """ImageEncoderViT on a view of `side` pixels: patches, 4 global and 8 windowed blocks, neck.

    Check, tensor: side 1024 976,909,172,736; side 640 325,620,793,344.
    """
    edge = patches_per_edge(arch, side)
    whole = times(block(arch, edge, 0, attention_kind), arch.sam.global_blocks)
    windowed = times(
        block(arch, edge, arch.sam.window, attention_kind),
        arch.sam.blocks - arch.sam.global_blocks,
    )
    body = add(add(patch_embed(arch, side), add(whole, windowed)), neck(arch, edge))
    return add(body, sam_tables(arch, edge))


@formula
def sam_tables(arch: Architecture, grid_edge: int) -> Cost:
    """Position tables of SAM, corrected to the size that the checkpoint holds.

    The model is stored for `position_edge` patches an edge (its relative tables of the global
    blocks too) and interpolates for other views, so it holds and reads the stored tables
    whatever the view.
    """
    stored = arch.sam.position_edge
    head_width = arch.sam.width // arch.sam.heads
    relative = 4 * (stored - grid_edge) * head_width * arch.sam.global_blocks
    weights = (stored * stored * arch.sam.width + relative) * arch.accounting.position_weights
    return layer_cost(weight_io=weights, weights=weights)


@formula
def clip_vision_embeddings(arch: Architecture, tokens: int) -> Cost:
    """CLIPVisionEmbeddings on SAM's features: adds a class token and positions; no FLOPs counted.

    Moves `2*1024*S`. The patch convolution is held in memory, but SAM's features replace its
    output, so a pass neither runs nor reads it.
    """
    width = arch.clip.width
    moved = width * (arch.clip.embedding_io_tokens + arch.clip.embedding_io_per_token * tokens)
    per_edge = arch.clip.image_size // arch.clip.patch_size
    tables = width * (per_edge * per_edge + 2)
    unused = clip_vision_embeddings_conv(arch, arch.clip.image_size).weights
    return layer_cost(
        activation_io=moved,
        weight_io=tables,
        activation_peak=moved,
        activation_sum=moved,
        weights=tables + unused,
    )


@formula
def clip_vision_embeddings_conv(arch: Architecture, side: int) -> Cost:
    """The standalone embedding's patch convolution: tensor `2*256*14*14*3*1024` at 224 px."""
    per_edge = side // arch.clip.patch_size
    weights = arch.image.channels * arch.clip.patch_size * arch.clip.patch_size * arch.clip.width
    moved = side * side * arch.image.channels + per_edge * per_edge * arch.clip.width
    return layer_cost(
        tensor_flops=2 * per_edge * per_edge * weights,
        activation_io=moved,
        weight_io=weights,
        activation_peak=moved,
        activation_sum=moved,
        weights=weights,
    )


@formula
def notp_attention(arch: Architecture, tokens: int, attention_kind: int) -> Cost:
    """NoTPAttention of CLIP: tensor `8*S*1024^2 + 4*S^2*1024`; CUDA softmax `5*16*S^2`.

    Moves and the published sum: widths a token and scores a token pair as the model file says.
    """
    width = arch.clip.width
    eager = 1 - attention_kind
    moved = (
        tokens
        * width
        * (eager * arch.clip.eager_io_widths + attention_kind * arch.clip.flash_io_widths)
        + eager * arch.clip.eager_io_scores * tokens * tokens
    )
    held_scores = 2 * score_values(attention_kind, arch.clip.heads, tokens, tokens)
    weights = 4 * width * width + 4 * width * arch.accounting.bias_weights
    return layer_cost(
        tensor_flops=8 * tokens * width * width + 4 * tokens * tokens * width,
        cuda_flops=5 * arch.clip.heads * tokens * tokens * arch.accounting.elementwise_cuda,
        activation_io=moved,
        weight_io=weights,
        activation_peak=6 * tokens * width + held_scores,
        activation_sum=moved,
        weights=weights,
    )


@formula
def notp_feed_forward(arch: Architecture, tokens: int) -> Cost:
    """NoTPFeedForward of CLIP: tensor `4*S*1024*4096`; CUDA (QuickGELU) `5*S*4096`."""
    return mlp(arch, tokens, arch.clip.width, arch.clip.mlp_width, 5)


@formula
def notp_transformer_block(arch: Architecture, tokens: int, attention_kind: int) -> Cost:
    """NoTPTransformerBlock: NoTPAttention + NoTPFeedForward, two norms, two residual adds."""
    return residual_block(
        arch,
        notp_attention(arch, tokens, attention_kind),
        notp_feed_forward(arch, tokens),
        layer_norm(arch, tokens, arch.clip.width),
        tokens * arch.clip.width,
        score_values(attention_kind, arch.clip.heads, tokens, tokens),
    )


@formula
def notp_transformer(arch: Architecture, tokens: int, attention_kind: int) -> Cost:
    """NoTPTransformer: `clip.blocks` blocks."""
    return times(notp_transformer_block(arch, tokens, attention_kind), arch.clip.blocks)


@formula
def clip_layer_norm(arch: Architecture, tokens: int) -> Cost:
    """The one LayerNorm of VitModel outside its blocks: CUDA `5*S*1024`, always counted."""
    values = tokens * arch.clip.width
    weights = 2 * arch.clip.width
    moved = 2 * values * arch.accounting.norm_and_residual_io
    return layer_cost(
        cuda_flops=5 * values,
        activation_io=moved,
        weight_io=weights,
        activation_peak=2 * values,
        weights=weights,
    )


@formula
def vit_model(arch: Architecture, tokens: int, attention_kind: int) -> Cost:
    """VitModel on `S = q*q + 1` tokens: embeddings, transformer, one LayerNorm.

    Check, tensor: S=257 161,715,683,328; S=101 62,004,756,480.
    """
    embeddings = clip_vision_embeddings(arch, tokens)
    body = notp_transformer(arch, tokens, attention_kind)
    return add(add(embeddings, clip_layer_norm(arch, tokens)), body)


@formula
def clip_tokens(arch: Architecture, side: int) -> int:
    """Tokens that CLIP sees of a view: `S = q*q + 1`, the class token included."""
    edge = tokens_per_edge(arch, side)
    return edge * edge + 1


@formula
def mlp_projector(arch: Architecture, tokens: int) -> Cost:
    """MlpProjector on `N` tokens, 2048 to 1280: tensor `2*N*2048*1280` a first linear layer.

    Further layers are 1280 to 1280, with GELU (CUDA `4*N*1280` a layer) where the model says so.
    Moves `N*(2048+1280)`, its inside being fused.
    """
    width = arch.projector.output_width
    further = arch.projector.layers - 1
    products = width * (arch.projector.input_width + further * width)
    weights = products + arch.projector.layers * width * arch.accounting.bias_weights
    moved = tokens * (arch.projector.input_width + width)
    return layer_cost(
        tensor_flops=2 * tokens * products,
        cuda_flops=4 * tokens * width * arch.projector.layers * arch.projector.gelu,
        activation_io=moved,
        weight_io=weights,
        activation_peak=moved,
        activation_sum=moved,
        weights=weights,
    )
