"""The cost of one workload as a tree, made by a walk over the parts of its passes."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sweepengine.costs.titles import TITLES, VIEWS, group_titles, operator_title
from sweepengine.formulas import attention, clip, encoder, layers, operators, recurrent, sam
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.cost import NOTHING, Cost, CountedOperator, counted, scaled
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import cache_bits, formats_of, layer_savings
from sweepengine.formulas.layers import Ends, Layer
from sweepengine.formulas.layout import (
    Share,
    ends_traffic,
    expert_groups,
    layer_traffic,
    share_of,
)
from sweepengine.formulas.passes import ENDS, Part, pass_of, steps_of
from sweepengine.formulas.points import Point, tokens_of
from sweepengine.formulas.reductions import activated_experts, read_once
from sweepengine.formulas.tokens import ImageTokens, ceil_div
from sweepengine.formulas.vision import Joins, joins, projected_tokens, repeats, view
from sweepengine.grid.plain import image_of, layout_of

COUNTS = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes", "weight_io_bytes",
          "link_bytes")  # fmt: skip
Formulas = dict[str, Callable[..., Any]]
STATED_BY: dict[type, Formulas] = {
    Layer: {
        "norms": operators.rms_norm,
        "projections": attention.projections,
        "rotary": attention.rotary,
        "attention": attention.attention_core,
        "compressor": attention.compressor,
        "indexer": attention.indexer,
        "recurrent": recurrent.recurrent_layer,
        "router": operators.router,
        "routed": layers.routed_experts,
        "shared_gate": layers.shared_gate,
        "mlp": operators.mlp,
        "residuals": operators.residual_add,
        "streams": layers.hyper_connection,
    },
    Ends: {
        "embedding": layers.decoder_ends,
        "collapse": layers.decoder_ends,
        "final_norm": operators.rms_norm,
        "head": operators.linear,
    },
    sam.SamBlock: {
        "norms": operators.norm,
        "projections": sam.sam_projections,
        "positions": sam.relative_positions,
        "attention": sam.sam_attention,
        "mlp": operators.mlp,
        "residuals": operators.residual_add,
    },
    sam.SamEnds: {
        "patches": operators.linear,
        "tables": sam.position_tables,
        "neck": sam.neck,
        "neck_norms": sam.layer_norm_2d,
    },
    clip.ClipBlock: {
        "norms": operators.norm,
        "projections": clip.clip_block,
        "attention": clip.clip_attention,
        "mlp": operators.mlp,
        "residuals": operators.residual_add,
    },
    clip.ClipEnds: {"embeddings": clip.clip_ends, "pre_norm": operators.norm},
    encoder.EncoderBlock: {
        "norms": operators.rms_norm,
        "projections": encoder.encoder_projections,
        "rotary": encoder.encoder_rotary,
        "attention": encoder.encoder_attention,
        "mlp": operators.mlp,
        "residuals": operators.residual_add,
    },
    encoder.EncoderEnds: {"queries": encoder.encoder_ends, "final_norm": operators.rms_norm},
    Joins: {"projector": clip.mlp_projector, "separators": operators.table},
}
"""The formula that states each operator of a record."""
TILES = 1
"""Position of tiles among views."""


class OperatorId(NamedTuple):
    """The key of an operator; titles are for people."""

    phase: str
    group: int
    """Position of its group of layers, or of its view; or `passes.ENDS`."""
    operator: str
    """Name of its field; in vision, the kind of layers; or "collectives"."""


class CostLine(NamedTuple):
    """One line of the tree: the cost of it and all lines below it, for the whole batch."""

    name: str
    copies: int
    """Number of equal parts that the line stands for."""
    formula: str
    """How the figures follow, in one line; empty for a group."""
    tensor_flops: int
    cuda_flops: int
    activation_io_bytes: int
    kv_io_bytes: int
    weight_io_bytes: float
    """Expected bytes: only experts that the batch activates are read."""
    link_bytes: int
    parts: "tuple[CostLine, ...]"
    id: OperatorId | None = None
    """Key of an operator; in vision, of a kind of layers; None for other lines."""

    @property
    def flops(self) -> int:
        """Tensor-core and CUDA-core FLOPs."""
        return self.tensor_flops + self.cuda_flops

    @property
    def moved_bytes(self) -> float:
        """Activations, KV cache and weights."""
        return self.activation_io_bytes + self.kv_io_bytes + self.weight_io_bytes

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, CostLine]]":
        """Yield this line and all lines below it, with their depths."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)

    def operators(self) -> "dict[OperatorId, CostLine]":
        """Return the lines of all operators by their keys."""
        return {line.id: line for _, line in self.walk() if line.id is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return nested dictionaries, for JSON."""
        fields = {**self._asdict(), "parts": [part.as_dict() for part in self.parts]}
        del fields["id"]
        return fields


def explain(arch: Architecture, point: Point) -> CostLine:
    """Explain the cost of one workload on the busiest device of its layout.

    Operators add up to phases, and phases to the total; integer figures add up exactly and equal
    the columns of `evaluate`. In vision, weights are counted in the global view, as tiles share its
    pass. Activation memory is a maximum, not a sum, so the tree leaves it out.
    """
    image = image_of(arch, point)
    tokens = tokens_of(point, image.view_tokens + image.tile_tokens)
    batch, steps = ceil_div(point.batch_size, point.data_parallel), point.decode_steps
    share = share_of(arch, point.attention_heads, point.key_value_heads, layout_of(point))
    phases = []
    if arch.towers is not None:
        phases.append(_vision(arch, image, point.attention, batch))
    filled = pass_of(share, tokens.prefill, point.cached_tokens, point.attention, 0)
    prefill = _Walk(arch, point, share, "prefill", batch, 1, batch * tokens.prefill)
    phases.append(prefill.lines(filled))
    stepped = steps_of(share, arch.convention, tokens.context, steps, point.attention, point.latent)
    phases.append(_Walk(arch, point, share, "decode", batch, steps, batch).lines(stepped))
    return _sum("total", 1, phases)


def _stated(formula: Callable[..., Any]) -> str:
    """Return the paragraphs of a docstring that state its formula: the first, and one in code."""
    text = (inspect.getdoc(formula) or "").split("\n\nParameters\n")[0]
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    in_code = [paragraph for paragraph in paragraphs if "`" in paragraph]
    return " ".join(dict.fromkeys([paragraphs[0], *in_code[:1]]))


def _costs(cost: Cost) -> bool:
    """Tell whether an operator has any cost but a peak of activations."""
    return any(cost._replace(activation_peak=0))


def _sum(
    name: str, copies: int, parts: Sequence[CostLine], known: OperatorId | None = None
) -> CostLine:
    totals = {field: sum(getattr(part, field) for part in parts) for field in COUNTS}
    return CostLine(name=name, copies=copies, formula="", parts=tuple(parts), id=known, **totals)


def _line(
    name: str,
    formula: Callable[..., Any],
    cost: Cost,
    batch: int,
    size: int,
    read: float,
    kv_bytes: int = 0,
    sent: int = 0,
    known: OperatorId | None = None,
) -> CostLine:
    """Make an operator's line for a batch; `cost` is of one sequence, traffic in values."""
    return CostLine(
        name=name,
        copies=1,
        formula=_stated(formula),
        tensor_flops=batch * cost.tensor_flops,
        cuda_flops=batch * cost.cuda_flops,
        activation_io_bytes=batch * cost.activation_io * size,
        kv_io_bytes=batch * kv_bytes,
        weight_io_bytes=read,
        link_bytes=batch * sent * size,
        parts=(),
        id=known,
    )


def _vision(arch: Architecture, image: ImageTokens, flash: int, batch: int) -> CostLine:
    """Return the line of vision: views by kind of layers, then the joins to the decoder."""
    towers, counts, size = arch.vision, arch.counts, arch.convention.dtype_bytes
    times = repeats(towers)
    kinds = {"global_blocks": "sam_block", "windowed_blocks": "sam_block",
             "clip_blocks": "clip_block", "encoder_blocks": "encoder_block"}  # fmt: skip

    def lines_of(
        record: Any, roles: tuple[CountedOperator, ...], count: int, read: int, joined: bool = False
    ) -> list[CostLine]:
        lines = []
        for (name, cost), role in zip(record._asdict().items(), roles, strict=True):
            all_of = scaled(counted(cost, role), count, read)
            if _costs(all_of):
                known = OperatorId("vision", ENDS, name) if joined else None
                lines.append(
                    _line(operator_title(name), STATED_BY[type(record)][name], all_of, batch, size,
                          float(all_of.weight_io * size), known=known)
                )  # fmt: skip
        return lines

    shown = []
    for position, (side, views) in enumerate(
        ((image.view_size, 1), (image.tile_size, image.tiles))
    ):
        seen = []
        for kind, record in view(towers, side, flash)._asdict().items():
            copies = getattr(times, kind)
            read = 0 if position == TILES else copies
            parts = lines_of(record, getattr(counts, kinds.get(kind, kind)), copies * views, read)
            if parts:
                known = OperatorId("vision", position, kind)
                seen.append(_sum(TITLES[kind], copies, parts, known))
        if seen:
            shown.append(_sum(VIEWS[position], views, seen))
    joined = joins(towers.projector, projected_tokens(towers, image))
    return _sum("vision", 1, [*shown, *lines_of(joined, counts.joins, 1, 1, joined=True)])


class _Walk(NamedTuple):
    """Makes the lines of one phase of the decoder."""

    arch: Architecture
    point: Point
    share: Share
    phase: str
    batch: int
    passes: int
    """Passes over the weights."""
    tokens: int
    """Tokens of a device in each pass."""

    def lines(self, parts: tuple[Part, ...]) -> CostLine:
        """Return the phase: embedding, groups of layers and head, with collectives."""
        before: list[CostLine] = []
        groups: list[CostLine] = []
        after: list[CostLine] = []
        titles = group_titles(self.share.groups)
        for part in parts:
            lines = [
                self.operator(part, name, cost) for name, cost in part.operators._asdict().items()
            ]
            kept = [line for line in (*lines, self.collectives(part)) if line is not None]
            if part.group != ENDS:
                groups.append(_sum(titles[part.group], part.layers, kept))
                continue
            before = [line for line in kept if line.id and line.id.operator == "embedding"]
            after = [line for line in kept if line not in before]
        return _sum(self.phase, 1, [*before, *groups, *after])

    def operator(self, part: Part, name: str, cost: Cost) -> CostLine | None:
        """Return the line of one operator in all layers of its part; None if it has no cost."""
        arch, ends = self.arch, part.group == ENDS
        roles = arch.counts.ends if ends else arch.counts.layer
        position = part.operators._fields.index(name)
        all_of = scaled(counted(cost, roles[position]), part.layers, part.layers)
        if not _costs(all_of):
            return None
        size = arch.convention.dtype_bytes
        group = None if ends else self.share.groups[part.group]
        cache = cache_bits(arch, self.point.cache_format)
        kept = size * QUARTERS if name == "recurrent" else cache
        line = _line(
            operator_title(name, group),
            STATED_BY[type(part.operators)][name],
            all_of,
            self.batch,
            size,
            self.passes * self.read(part, name, all_of),
            kv_bytes=all_of.kv_io * kept // QUARTERS,
            known=OperatorId(self.phase, part.group, name),
        )
        if name == "recurrent" and group is not None:
            kind = _stated(recurrent.MIXINGS[group.recurrent.kind])
            line = line._replace(formula=f"{line.formula} {kind}")
        return line

    def read(self, part: Part, name: str, cost: Cost) -> float:
        """Return the expected bytes of weights that a pass reads for an operator."""
        arch, share, layout = self.arch, self.share, self.share.layout
        size = arch.convention.dtype_bytes
        if name == "embedding":
            row = share.backbone.hidden * arch.counts.ends[0].weight_io * size
            return read_once(0, row, share.backbone.vocabulary, self.tokens)
        read: float = cost.weight_io * size
        if part.group == ENDS:
            return read
        group = share.groups[part.group]
        formats = formats_of(arch, self.point.weight_format)
        saved = layer_savings(group, share.backbone.hidden, formats, size)._asdict()
        read -= part.layers * saved.get(name, 0) * min(cost.weight_io, 1)
        if cost.expert_io:
            ffn = arch.groups[part.group].feed_forward
            resident = ceil_div(ffn.experts, layout.expert)
            expert_bytes = cost.expert_io * size - part.layers * saved["expert"]
            tokens = self.tokens * expert_groups(layout)
            routing = (resident, ffn.experts, ffn.experts_per_token)
            read += activated_experts(*routing, tokens) * expert_bytes
        return read

    def collectives(self, part: Part) -> CostLine | None:
        """Return the line of what a device sends in all layers of a part; None if nothing."""
        sent = self.passes * part.layers * part.traffic.values
        if not sent:
            return None
        formula = ends_traffic if part.group == ENDS else layer_traffic
        size = self.arch.convention.dtype_bytes
        known = OperatorId(self.phase, part.group, "collectives")
        return _line("collectives", formula, NOTHING, self.batch, size, 0.0, sent=sent, known=known)
