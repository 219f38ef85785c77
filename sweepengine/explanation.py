"""The cost of one workload as a tree: stages, modules, layers, from the kernel's own formulas."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sweepengine.architecture import Architecture
from sweepengine.cost import Cost, add, layer_cost, times
from sweepengine.geometry import image_tokens, patches_per_edge
from sweepengine.layers import decoder as dec
from sweepengine.layers import vision as vis
from sweepengine.layers.residual import FLASH, layer_norm, residual_add
from sweepengine.stages import (
    Point,
    all_steps,
    attended_in_step,
    point_workload,
    projected_tokens,
    weight_io_bytes,
)

Formula = Callable[..., Cost]
COUNTS = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes", "weight_io_bytes")


class Layer(NamedTuple):
    """`copies` like layers of one image, or a group of them; `cost` is that of one."""

    name: str
    copies: int
    cost: Cost
    formula: str
    parts: "tuple[Layer, ...]" = ()


class Part(NamedTuple):
    """One line of the explanation: what it and all below it cost, for the whole batch."""

    name: str
    copies: int
    """How many alike stand side by side or one after the other."""
    formula: str
    """One line: how the figures follow; empty for a group."""
    tensor_flops: int
    cuda_flops: int
    activation_io_bytes: int
    kv_io_bytes: int
    weight_io_bytes: float
    """Expected: routed experts are read as far as the batch touches them."""
    parts: "tuple[Part, ...]"

    @property
    def flops(self) -> int:
        """Tensor-core and CUDA-core FLOPs."""
        return self.tensor_flops + self.cuda_flops

    @property
    def moved_bytes(self) -> float:
        """Activations, cache and weights."""
        return self.activation_io_bytes + self.kv_io_bytes + self.weight_io_bytes

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, Part]]":
        """Yield this part and all below it, with their depths."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)

    def as_dict(self) -> dict[str, Any]:
        """Nested dictionaries for JSON."""
        return {**self._asdict(), "parts": [part.as_dict() for part in self.parts]}


def explain(arch: Architecture, point: Point) -> Part:
    """Cost of one workload, layer by layer; layers add up to stages, stages to the total.

    Integer figures add up exactly and equal the columns of `evaluate`. The weights are read by
    the global view; tiles share its pass. Of the activation memory, a maximum and no sum, the
    tree says nothing.
    """
    workload = point_workload(arch, point)
    context = image_tokens(workload) + point.text_tokens
    batch, steps = point.batch_size, point.decode_steps
    vision = [
        _group("Global view", 1, _view(arch, workload.view_size, point.attention)),
        _group(
            "Tiles", workload.tiles, _view(arch, workload.tile_size, point.attention, shared=True)
        ),
        _leaf("MlpProjector", 1, vis.mlp_projector, arch, projected_tokens(arch, workload)),
        Layer(
            "Separators",
            1,
            _weights(2 * arch.projector.output_width * arch.accounting.separator_weights),
            "A newline and a view separator, embeddings of the decoder's width.",
        ),
    ]
    prefill = _decoder(arch, context, context, point)
    first, second = (
        _decoder(arch, 1, attended_in_step(arch, context, step), point) for step in (0, 1)
    )
    decode = [_over_steps(one, two, steps) for one, two in zip(first, second, strict=True)]
    stages = (
        _stage("vision", arch, vision, batch, 1, 0),
        _stage("prefill", arch, prefill, batch, 1, batch * context),
        _stage("decode", arch, decode, batch, steps, batch),
    )
    return _sum("total", 1, stages)


def _leaf(name: str, count: int, formula: Formula, *arguments: Any) -> Layer:
    return Layer(name, count, formula(*arguments), _line(formula))


def _line(formula: Formula) -> str:
    """First paragraph of a formula's docstring, which states it, and the next if that does."""
    paragraphs = [" ".join(p.split()) for p in (inspect.getdoc(formula) or "").split("\n\n")]
    stated = [p for p in paragraphs if "`" in p]
    return " ".join(dict.fromkeys([paragraphs[0], *stated[:1]]))


def _group(name: str, count: int, parts: list[Layer]) -> Layer:
    cost = _weights(0)
    for part in parts:
        cost = add(cost, times(part.cost, part.copies))
    return Layer(name, count, cost, "", tuple(parts))


def _weights(values: int) -> Cost:
    return layer_cost(weight_io=values, weights=values)


def _view(arch: Architecture, side: int, attention: int, shared: bool = False) -> list[Layer]:
    edge = patches_per_edge(arch, side)
    patches, tokens = edge * edge, vis.clip_tokens(arch, side)
    window = arch.sam.window
    per_edge = -(-edge // window)

    def block(name: str, count: int, windows: int, window_edge: int) -> Layer:
        mixer = _leaf("Attention", 1, vis.attention, arch, windows, window_edge, attention)
        feed_forward = _leaf("MLPBlock", 1, vis.mlp_block, arch, patches)
        return _group(name, count, _residual(arch, patches, arch.sam.width, mixer, feed_forward))

    sam = [
        _leaf("PatchEmbed", 1, vis.patch_embed, arch, side),
        block("Block, global", arch.sam.global_blocks, 1, edge),
        block(f"Block, windows of {window}", arch.sam.blocks - arch.sam.global_blocks,
              per_edge * per_edge, window),
        _leaf("Neck convolutions", 1, vis.neck_convolutions, arch, edge),
        _leaf("LayerNorm2d", 2, vis.layer_norm_2d, arch, patches),
        _leaf("Position tables", 1, vis.sam_tables, arch, edge),
    ]  # fmt: skip
    clip_block = _residual(
        arch,
        tokens,
        arch.clip.width,
        _leaf("NoTPAttention", 1, vis.notp_attention, arch, tokens, attention),
        _leaf("NoTPFeedForward", 1, vis.notp_feed_forward, arch, tokens),
    )
    clip = [
        _leaf("CLIPVisionEmbeddings", 1, vis.clip_vision_embeddings, arch, tokens),
        _leaf("LayerNorm", 1, vis.clip_layer_norm, arch, tokens),
        _group("NoTPTransformerBlock", arch.clip.blocks, clip_block),
    ]
    layers = [_group("ImageEncoderViT", 1, sam), _group("VitModel", 1, clip)]
    return [_without_weights(layer) for layer in layers] if shared else layers


def _residual(
    arch: Architecture, tokens: int, width: int, mixer: Layer, *feed_forward: Layer
) -> list[Layer]:
    return [
        mixer,
        *feed_forward,
        _leaf("LayerNorm", 2, layer_norm, arch, tokens, width),
        _leaf("Residual add", 2, residual_add, arch, tokens, width),
    ]


def _without_weights(layer: Layer) -> Layer:
    return layer._replace(
        cost=layer.cost._replace(weight_io=0),
        parts=tuple(_without_weights(part) for part in layer.parts),
    )


def _decoder(arch: Architecture, tokens: int, attended: int, point: Point) -> list[Layer]:
    heads = point.heads
    flash = point.attention == FLASH
    name, formula = (
        ("LlamaFlashAttention2", dec.llama_flash_attention_2)
        if flash
        else ("LlamaAttention", dec.llama_attention)
    )
    attention = _leaf(name, 1, formula, arch, tokens, attended, heads)
    attention = attention._replace(formula=_line(dec.decoder_attention))
    around = [
        _leaf("DeepseekV2RMSNorm", 2, dec.deepseek_v2_rms_norm, arch, tokens),
        _leaf("Residual add", 2, residual_add, arch, tokens, arch.decoder.hidden),
    ]
    dense = _leaf("DeepseekV2MLP", 1, dec.deepseek_v2_mlp, arch, tokens, arch.decoder.dense_width)
    mixture = [
        _leaf("MoEGate", 1, dec.moe_gate, arch, tokens),
        _leaf("Routed experts", 1, dec.routed_experts, arch, tokens),
        _leaf("Shared experts", 1, dec.deepseek_v2_mlp, arch, tokens, arch.decoder.shared_width),
    ]
    sparse_layers = arch.decoder.layers - arch.decoder.dense_layers
    rotary = dec.llama_rotary_embedding
    return [
        _leaf("Token embedding", 1, dec.token_embedding, arch),
        _group("DeepseekV2DecoderLayer, dense", arch.decoder.dense_layers,
               [attention, dense, *around]),
        _group("DeepseekV2DecoderLayer, MoE", sparse_layers, [attention, *mixture, *around]),
        _leaf("LlamaRotaryEmbedding", arch.decoder.layers, rotary, arch, tokens, heads),
        _leaf("Final RMSNorm", 1, dec.final_norm, arch, tokens),
        _leaf("LMHead", 1, dec.lm_head, arch, tokens),
    ]  # fmt: skip


def _over_steps(first: Layer, second: Layer, steps: int) -> Layer:
    cost = all_steps(first.cost, second.cost, steps)
    # Weights are read once a step; how often is up to the stage.
    cost = cost._replace(weight_io=first.cost.weight_io, expert_io=first.cost.expert_io)
    parts = tuple(
        _over_steps(one, two, steps) for one, two in zip(first.parts, second.parts, strict=True)
    )
    return first._replace(cost=cost, parts=parts)


def _stage(
    name: str, arch: Architecture, layers: list[Layer], batch: int, passes: int, tokens: int
) -> Part:
    """A stage of `passes` passes over the weights, each with `tokens` tokens of the batch."""
    size = arch.accounting.dtype_bytes
    rows = weight_io_bytes(arch, 0, 0, tokens)

    def part(layer: Layer, count: int) -> Part:
        alike = count * layer.copies
        if layer.parts:
            below = tuple(part(inner, alike) for inner in layer.parts)
            return _sum(layer.name, layer.copies, below)
        cost = layer.cost
        read = weight_io_bytes(arch, alike * cost.weight_io, alike * cost.expert_io, tokens) - rows
        if layer.name == "Token embedding":
            read = rows
        return Part(
            layer.name,
            layer.copies,
            layer.formula,
            batch * alike * cost.tensor_flops,
            batch * alike * cost.cuda_flops,
            batch * alike * cost.activation_io * size,
            batch * alike * cost.kv_io * size,
            passes * read,
            (),
        )

    return _sum(name, 1, tuple(part(layer, 1) for layer in layers if layer.copies))


def _sum(name: str, count: int, parts: tuple[Part, ...]) -> Part:
    tensor, cuda, moved, cache, read = (sum(getattr(p, field) for p in parts) for field in COUNTS)
    return Part(name, count, "", tensor, cuda, moved, cache, read, parts)
