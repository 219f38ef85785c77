"""The cost of one workload as a tree, made by a walk over the parts of its passes."""

from typing import NamedTuple

from sweepengine.costs.cost_lines import (
    CostLine,
    Formulas,
    OperatorId,
    cost_line,
    has_cost,
    stated,
    sum_lines,
)
from sweepengine.costs.explain_vision import vision_lines
from sweepengine.costs.titles import DRAFT, DRAFT_PREFILL, group_titles, operator_title
from sweepengine.formulas import attention, experts, layers, operators, recurrent
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.cached import read_quarters
from sweepengine.formulas.cost import NOTHING, Cost, counted, scaled
from sweepengine.formulas.drafts import drafted, drafting_of, step_of
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
from sweepengine.formulas.points import Point, Tokens, rows_of_images, tokens_of
from sweepengine.formulas.reductions import activated_experts, read_once
from sweepengine.formulas.speculation import steps_of_answer
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.plain import image_of, layout_of

STATED_BY: dict[type, Formulas] = {
    Layer: {
        "norms": layers.layer_norms,
        "projections": attention.projections,
        "rotary": attention.rotary,
        "attention": attention.attention_core,
        "feature_keys": attention.feature_keys,
        "compressor": attention.compressor,
        "indexer": attention.indexer,
        "recurrent": recurrent.recurrent_layer,
        "router": operators.router,
        "routed": experts.routed_experts,
        "image_experts": experts.image_experts,
        "shared_gate": experts.shared_gate,
        "mlp": operators.mlp,
        "residuals": operators.residual_add,
        "streams": layers.hyper_connection,
    },
    Ends: {
        "embedding": layers.decoder_ends,
        "collapse": layers.decoder_ends,
        "final_norm": operators.hidden_norm,
        "head": operators.linear,
    },
}
"""The formula that states each operator of a record."""


def explain(arch: Architecture, point: Point, share: Share | None = None) -> CostLine:
    """Explain the cost of one workload on the busiest device of its layout, or of another share.

    Operators add up to phases, and phases to the total; integer figures add up exactly and equal
    the columns of `evaluate`. In vision, weights are counted in the global view, as tiles share its
    pass. A draft is a part of prefill and of decode. Activation memory is a maximum, not a sum, so
    the tree leaves it out.
    """
    image = image_of(arch, point)
    tokens = tokens_of(point, image.tokens, image.features)
    batch, answer = ceil_div(point.batch_size, point.data_parallel), point.decode_steps
    heads = (point.attention_heads, point.key_value_heads)
    share = share or share_of(arch, *heads, layout_of(point))
    phases = []
    if arch.towers is not None and point.images:
        phases.append(vision_lines(arch, image, point.attention, batch * point.images))
    rows = rows_of_images(arch, tokens.image, tokens.features)
    filled = pass_of(share, tokens.prefill, tokens.cached, point.attention, 0, rows)
    prefill = _Walk(arch, point, share, "prefill", batch, 1, batch * tokens.prefill)
    how, step = (point.attention, point.latent, rows), step_of(point)
    stepped = steps_of(share, arch.convention, tokens.context, answer, *how, step)
    steps = steps_of_answer(answer, step.accepted)
    decode = _Walk(arch, point, share, "decode", batch, steps, batch * step.tokens)
    lines = [prefill.lines(filled), decode.lines(stepped)]
    if point.draft_tokens:
        added = _draft_lines(arch, point, tokens, batch)
        lines = [
            sum_lines(line.name, 1, [*line.parts, more])
            for line, more in zip(lines, added, strict=True)
        ]
    return sum_lines("total", 1, [*phases, *lines])


def _draft_lines(
    arch: Architecture, point: Point, tokens: Tokens, batch: int
) -> tuple[CostLine, CostLine]:
    """Lines of a draft: its prefill, and its passes of all steps.

    Parameters are those of `grid.counted.draft_workload`; `batch` is the sequences of a
    data-parallel group.
    """
    (own, seen), step = drafted(arch, point), drafting_of(point)
    share = share_of(own, seen.attention_heads, seen.key_value_heads, layout_of(seen))
    filled = pass_of(share, tokens.prefill, tokens.cached, seen.attention, 0)
    prefill = _Walk(own, seen, share, DRAFT_PREFILL, batch, 1, batch * tokens.prefill)
    how = (seen.attention, seen.latent, 0)
    stepped = steps_of(share, own.convention, tokens.context, seen.decode_steps, *how, step)
    passes = step.passes * steps_of_answer(seen.decode_steps, step.accepted)
    drafting = _Walk(own, seen, share, DRAFT, batch, passes, batch)
    return prefill.lines(filled), drafting.lines(stepped)


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
                groups.append(sum_lines(titles[part.group], part.layers, kept))
                continue
            before = [line for line in kept if line.id and line.id.operator == "embedding"]
            after = [line for line in kept if line not in before]
        return sum_lines(self.phase, 1, [*before, *groups, *after])

    def operator(self, part: Part, name: str, cost: Cost) -> CostLine | None:
        """Return the line of one operator in all layers of its part; None if it has no cost."""
        arch, ends = self.arch, part.group == ENDS
        roles = arch.counts.ends if ends else arch.counts.layer
        position = part.operators._fields.index(name)
        all_of = scaled(counted(cost, roles[position]), part.layers, part.layers)
        if not has_cost(all_of):
            return None
        size = arch.convention.dtype_bytes
        group = None if ends else self.share.groups[part.group]
        cache = cache_bits(arch, self.point.cache_format)
        kept = all_of.kv_io * size * QUARTERS
        if name != "recurrent" and group is not None:
            kept = read_quarters(group.attention, all_of.kv_io, cache)
        fused = name == "embedding" and self.share.backbone.fused
        line = cost_line(
            operator_title("fused" if fused else name, group),
            STATED_BY[type(part.operators)][name],
            all_of,
            self.batch,
            size,
            self.passes * self.read(part, name, all_of),
            kv_bytes=kept // QUARTERS,
            known=OperatorId(self.phase, part.group, name),
        )
        if name == "recurrent" and group is not None:
            kind = stated(recurrent.MIXINGS[group.recurrent.kind])
            line = line._replace(formula=f"{line.formula} {kind}")
        return line

    def read(self, part: Part, name: str, cost: Cost) -> float:
        """Return the expected bytes of weights that a pass reads for an operator."""
        arch, share, layout = self.arch, self.share, self.share.layout
        size = arch.convention.dtype_bytes
        if name == "embedding":
            row = layers.row_values(share.backbone) * arch.counts.ends[0].weight_io * size
            return read_once(cost.weight_io * size, row, share.backbone.vocabulary, self.tokens)
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
        return cost_line(
            "collectives", formula, NOTHING, self.batch, size, 0.0, sent=sent, known=known
        )
