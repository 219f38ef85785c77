"""The cost of one workload as a tree: a walk over the operators that the kernel sums."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sweepengine.formulas import attention, clip, decoder, encoder, operators, recurrent, sam
from sweepengine.formulas.architecture import Architecture, Group, Reach
from sweepengine.formulas.cost import Cost, Roles, add, counted, scaled
from sweepengine.formulas.decoder import Ends, Layer, decoder_layer
from sweepengine.formulas.figures import QUARTERS, held_ends
from sweepengine.formulas.formats import cache_bits, formats_of, layer_savings
from sweepengine.formulas.layout import (
    ends_held,
    ends_links,
    expert_groups,
    layer_links,
    share_trunk,
)
from sweepengine.formulas.points import Point
from sweepengine.formulas.tokens import ImageTokens, ceil_div, entries_of_pass, keys_of_pass
from sweepengine.formulas.vision import Joins, joins, projected_tokens, repeats, view
from sweepengine.formulas.ways import keys_met, read_once, touched_experts
from sweepengine.formulas.workloads import regrouped
from sweepengine.grid.plain import image_of, layout_of, text_of

COUNTS = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes", "weight_io_bytes",
          "link_bytes")  # fmt: skip
STATED: dict[type, tuple[Callable[..., Any], ...]] = {
    Layer: (operators.rms_norm, attention.projections, attention.rotary, attention.attention_core,
            attention.compressor, attention.indexer, recurrent.recurrent_layer,
            operators.router, decoder.routed_experts, decoder.shared_gate, operators.mlp,
            operators.residual_add, decoder.hyper_connection),
    Ends: (decoder.decoder_ends, decoder.decoder_ends, operators.rms_norm, operators.linear),
    sam.SamBlock: (operators.norm, sam.sam_projections, sam.relative_positions, sam.sam_attention,
                   operators.mlp, operators.residual_add),
    sam.SamEnds: (operators.linear, sam.position_tables, sam.neck, sam.layer_norm_2d),
    clip.ClipBlock: (operators.norm, clip.clip_block, clip.clip_attention, operators.mlp,
                     operators.residual_add),
    clip.ClipEnds: (clip.clip_ends, operators.norm),
    encoder.EncoderBlock: (operators.rms_norm, encoder.encoder_projections, encoder.encoder_rotary,
                           encoder.encoder_attention, operators.mlp, operators.residual_add),
    encoder.EncoderEnds: (encoder.encoder_ends, operators.rms_norm),
    Joins: (clip.mlp_projector, operators.held),
}  # fmt: skip
"""The formula that states each operator of a tuple."""
TITLES = {
    "routed": "routed experts",
    "mlp": "MLP",
    "head": "LM head",
    "embedding": "token embedding",
    "sam_ends": "SAM patches and neck",
    "global_blocks": "SAM blocks, global",
    "windowed_blocks": "SAM blocks, windows",
    "clip_ends": "CLIP embeddings and norm",
    "clip_blocks": "CLIP blocks",
    "encoder_ends": "encoder queries and norm",
    "encoder_blocks": "encoder layers",
}
"""How an operator or a kind of layers is called; others by their field's name."""


class Node(NamedTuple):
    """Cost of an operator, or of a group of them, for one sequence, all its copies together."""

    name: str
    copies: int
    cost: Cost
    formula: str = ""
    routing: tuple[int, int, int] = (0, 0, 0)
    """Experts held, of how many, and experts a token, of which its weights are read."""
    saved: int = 0
    """Bytes of weights that formats save in each pass."""
    expert_saved: int = 0
    """Bytes that they save of one expert in all layers."""
    link: int = 0
    """Values that are sent to other devices."""
    parts: "tuple[Node, ...]" = ()


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
    link_bytes: int
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
    """Cost of one workload, operator by operator; operators add up to stages, stages to the total.

    Of a layout it is that of the busiest device.

    Integer figures add up exactly and equal the columns of `evaluate`. The weights are read by
    the global view; tiles share its pass. Of the activation memory, a maximum and no sum, the
    tree says nothing.
    """
    image = image_of(arch, point)
    tokens = image.view_tokens + image.tile_tokens + text_of(point)
    context = tokens + point.cached_tokens
    batch, steps = ceil_div(point.batch_size, point.data_parallel), point.decode_steps
    stages = []
    if arch.towers is not None:
        seen = _vision(arch, image, point.attention)
        stages.append(_stage("vision", arch, point, seen, batch, 1, 0))
    filled = _prefill(arch, tokens, point)
    stages.append(_stage("prefill", arch, point, filled, batch, 1, batch * tokens))
    decoded = _decode(arch, context, point)
    stages.append(_stage("decode", arch, point, decoded, batch, steps, batch))
    return _sum("total", 1, tuple(stages))


def _operators(
    parts: Any, counts: Sequence[Roles], count: int = 1, copies: int | None = None
) -> list[Node]:
    """The operators of a tuple, as counted; `count` times the work, `copies` times the weights."""
    weights = count if copies is None else copies
    stated = STATED[type(parts)]
    return [
        Node(TITLES.get(name, name.replace("_", " ")), 1,
             scaled(counted(cost, roles), count, weights), _line(formula))
        for name, cost, roles, formula in zip(parts._fields, parts, counts, stated, strict=True)
    ]  # fmt: skip


def _line(formula: Callable[..., Any]) -> str:
    """First paragraph of a formula's docstring, which states it, and the next if that does."""
    paragraphs = [" ".join(p.split()) for p in (inspect.getdoc(formula) or "").split("\n\n")]
    stated = [p for p in paragraphs if "`" in p]
    return " ".join(dict.fromkeys([paragraphs[0], *stated[:1]]))


def _group(name: str, copies: int, parts: Sequence[Node]) -> Node:
    """A group of what costs anything."""
    kept = tuple(p for p in parts if _costs(p))
    return Node(name, copies, Cost(*[0] * len(Cost._fields)), parts=kept)


def _costs(part: Node) -> bool:
    """Whether a node is more than nothing."""
    return bool(part.parts or part.link or any(part.cost._replace(activation_peak=0)))


def _collectives(name: str, values: int, stated: Callable[..., Any]) -> Node:
    """What a device sends."""
    return Node(name, 1, Cost(*[0] * len(Cost._fields)), _line(stated), link=values)


def _vision(arch: Architecture, image: ImageTokens, flash: int) -> list[Node]:
    towers = arch.vision
    times = repeats(towers)
    counts = arch.counts
    kinds = (counts.sam_ends, counts.sam_block, counts.sam_block, counts.clip_ends,
             counts.clip_block, counts.encoder_ends, counts.encoder_block)  # fmt: skip

    def seen(name: str, side: int, views: int, shared: bool) -> Node:
        layers = view(towers, side, flash)
        return _group(name, views, [
            _group(TITLES[kind], count,
                   _operators(part, roles, count * views, 0 if shared else count))
            for kind, part, count, roles in zip(layers._fields, layers, times, kinds, strict=True)
        ])  # fmt: skip

    joined = joins(towers.projector, projected_tokens(towers, image))
    return [
        seen("global view", image.view_size, 1, False),
        seen("tiles", image.tile_size, image.tiles, True),
        *_operators(joined, counts.joins),
    ]


def group_name(group: Group) -> str:
    """What kind of layers a group is."""
    own, forward = group.attention, group.feed_forward
    mixture = f"{forward.experts} experts" if forward.experts else "dense"
    window = f", window of {own.window:,}" if own.window else ""
    entries = f", an entry each {own.stride:,}" if own.stride else ""
    return f"layers, {mixture}{window}{entries}"


def mlp_name(group: Group) -> str:
    """What the MLP of a group's layers is called that every token takes."""
    return "shared experts" if group.feed_forward.experts else TITLES["mlp"]


def _grouped(
    arch: Architecture, point: Point, group: Group, layers: list[Node], tokens: int, passes: int
) -> Node:
    """Operators of one group of layers, with the routing of its experts and its formats."""
    forward, layout, count = group.feed_forward, layout_of(point), group.layers
    held = ceil_div(forward.experts, layout.expert)
    routing = (held, forward.experts, forward.experts_per_token)
    formats = formats_of(arch, point.weight_format)
    less = layer_savings(group, arch.trunk.hidden, formats, arch.convention.dtype_bytes)
    by_name = {TITLES.get(name, name): count * saved for name, saved in less._asdict().items()}
    named = [
        node._replace(
            name=mlp_name(group) if node.name == TITLES["mlp"] else node.name,
            routing=routing,
            saved=by_name.get(node.name, 0) * min(node.cost.weight_io, 1),
            expert_saved=by_name["expert"] * min(node.cost.expert_io, 1),
        )
        for node in layers
    ]
    sent = passes * count * layer_links(group, arch.trunk.hidden, tokens, layout)
    links = _collectives("collectives", sent, layer_links)
    return _group(group_name(group), count, [*named, links])


def _around(
    arch: Architecture, point: Point, layers: list[Node], tokens: int, passes: int
) -> list[Node]:
    """Layers between table and head, where the device has those, and what both send."""
    layout = layout_of(point)
    trunk, held = share_trunk(arch.trunk, layout.tensor), ends_held(arch.groups, layout)
    parts = held_ends(trunk, tokens, *held)
    before, *after = _operators(parts, arch.counts.ends, passes, 1)
    sent = passes * ends_links(trunk, tokens, layout, *held)
    return [before, *layers, *after, _collectives("collectives", sent, ends_links)]


def _prefill(arch: Architecture, tokens: int, point: Point) -> list[Node]:
    found, heads = [], (point.attention_heads, point.key_value_heads)
    for group in regrouped(arch, *heads, layout_of(point)):
        cached = point.cached_tokens
        keys = keys_of_pass(tokens, cached, group.attention.window)
        entries = entries_of_pass(tokens, cached, group.attention.stride)
        layer = decoder_layer(group, arch.trunk, tokens, keys, entries, point.attention, 0, cached)
        layers = _operators(layer, arch.counts.layer, group.layers)
        found.append(_grouped(arch, point, group, layers, tokens, 1))
    return _around(arch, point, found, tokens, 1)


def _decode(arch: Architecture, context: int, point: Point) -> list[Node]:
    steps = point.decode_steps
    found, heads = [], (point.attention_heads, point.key_value_heads)
    for group in regrouped(arch, *heads, layout_of(point)):
        own = group.attention
        met = keys_met(arch.convention, context, steps, Reach(own.window, 0, 1))
        entries = 0
        if own.stride:
            compressed = Reach(0, own.stride, own.series)
            entries = keys_met(arch.convention, context, steps, compressed)
        none, key, entry = (
            _operators(
                decoder_layer(group, arch.trunk, 1, *one, point.attention, point.latent, 1),
                arch.counts.layer,
                group.layers,
            )
            for one in ((0, 0), (1, 0), (0, 1))
        )
        layers = []
        for first, *others in zip(none, key, entry, strict=True):
            cost = scaled(first.cost, steps, 1)
            for other, count in zip(others, (met, entries), strict=True):
                cost = add(cost, scaled(_growth(first.cost, other.cost), count, 0))
            layers.append(first._replace(cost=cost))
        found.append(_grouped(arch, point, group, layers, 1, steps))
    return _around(arch, point, found, 1, steps)


def _growth(none: Cost, one: Cost) -> Cost:
    """What a key more costs; how often weights are read is up to the stage."""
    return Cost(*(b - a for a, b in zip(none, one, strict=True)))


def _stage(
    name: str,
    arch: Architecture,
    point: Point,
    nodes: list[Node],
    batch: int,
    passes: int,
    tokens: int,
) -> Part:
    """A stage of `passes` passes over the weights, each with `tokens` tokens of a device."""
    size, cache = arch.convention.dtype_bytes, cache_bits(arch, point.cache_format)
    met = tokens * expert_groups(layout_of(point))
    row = arch.trunk.hidden * arch.counts.ends[0].weight_io

    def part(node: Node) -> Part:
        if node.parts:
            return _sum(node.name, node.copies, tuple(part(inner) for inner in node.parts))
        cost = node.cost
        read = float(cost.weight_io * size - node.saved)
        if cost.expert_io:
            one = cost.expert_io * size - node.expert_saved
            read += touched_experts(*node.routing, met) * one
        if node.name == TITLES["embedding"]:
            rows = ceil_div(arch.trunk.vocabulary, point.tensor_parallel)
            read = read_once(0, row * size, rows, tokens)
        kept = size * QUARTERS if node.name == "recurrent" else cache
        return Part(
            node.name,
            node.copies,
            node.formula,
            batch * cost.tensor_flops,
            batch * cost.cuda_flops,
            batch * cost.activation_io * size,
            batch * (cost.kv_io * kept // QUARTERS),
            passes * read,
            batch * node.link * size,
            (),
        )

    return _sum(name, 1, tuple(part(node) for node in nodes if _costs(node)))


def _sum(name: str, count: int, parts: tuple[Part, ...]) -> Part:
    tensor, cuda, moved, cache, read, link = (
        sum(getattr(part, field) for part in parts) for field in COUNTS
    )
    return Part(name, count, "", tensor, cuda, moved, cache, read, link, parts)
