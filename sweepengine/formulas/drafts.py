"""Drafts of speculative decoding as models: what an MTP layer and an EAGLE head are made of.

Both are one decoder layer behind a projection of two hidden vectors to one (`layers.fused_input`),
with the model's own token table and head. Source: docs/decoders.md, "Speculative decoding".
"""

from functools import lru_cache

from sweepengine.formulas.architecture import (
    NO_RECURRENT,
    Architecture,
    Attention,
    Backbone,
    Counts,
    FeedForward,
    Group,
)
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.formats import own_activation
from sweepengine.formulas.layers import Ends, Layer
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import Point
from sweepengine.formulas.speculation import (
    DRAFTS,
    EAGLE,
    MTP,
    DecodeStep,
    drafting,
    verification,
)

HEAD_WIDTH = 128
"""Channels of an EAGLE head's attention heads where the model has no grouped heads."""
DENSE_RATIO = 4
"""Width of its MLP over the hidden width, where the model has no dense MLP."""
_LEFT_OUT = (
    "positions",
    "input_width",
    "input_layers",
    "input_rows",
    "laurel_rank",
    "alternatives",
)
"""Parts of a backbone that a draft's layer does without."""
_UNSHARED = dict.fromkeys(_LEFT_OUT, 0)


@lru_cache(1 << 8)
def draft_of(arch: Architecture, draft: int) -> Architecture:
    """The draft of a model, as a model.

    Parameters
    ----------
    arch : Architecture
    draft : int
        Position in `DRAFTS`, or behind these in `Architecture.drafts`.
    """
    if draft == DRAFTS.index(MTP):
        return _mtp(arch)
    if draft == DRAFTS.index(EAGLE):
        return _eagle(arch)
    return arch.drafts[draft - len(DRAFTS)]


def _mtp(arch: Architecture) -> Architecture:
    """One more layer of the kind of the last that attends, two norms before the projection."""
    attending = [group for group in arch.groups if group.attention.heads]
    last = (attending or list(arch.groups))[-1]
    owned = last.attention._replace(borrowed_cache=0, crossed=0)
    backbone = arch.backbone._replace(fused=1, fused_norms=2, final_norm=1, **_UNSHARED)
    return arch._replace(
        backbone=backbone,
        groups=(last._replace(layers=1, attention=owned),),
        towers=None,
        drafts=(),
    )


def _eagle(arch: Architecture) -> Architecture:
    """A dense layer of Llama's kind in bf16, with the model's grouped heads and dense width.

    A model of latent attention gives it heads of 128 channels, one without a dense MLP four times
    the hidden width.
    """
    hidden = arch.backbone.hidden
    grouped = [g.attention for g in arch.groups if g.attention.heads and not g.attention.latent]
    dense = [g.feed_forward.width for g in arch.groups if not g.feed_forward.experts]
    width = grouped[-1].key_width if grouped else HEAD_WIDTH
    heads = grouped[-1].heads if grouped else max(hidden // HEAD_WIDTH, 1)
    attention = Attention(**dict.fromkeys(Attention._fields, 0))._replace(
        heads=heads,
        key_value_heads=grouped[-1].key_value_heads if grouped else heads,
        key_width=width,
        value_width=width,
        rotary_width=width,
        index_weighted=1,
        series=1,
        cache_devices=1,
    )
    forward = FeedForward(**dict.fromkeys(FeedForward._fields, 0))._replace(
        width=max(dense, default=0) or DENSE_RATIO * hidden,
        router_flops=6,
        matrices=3,
        activation_flops=4,
        expert_devices=1,
    )
    backbone: Backbone = arch.backbone._replace(
        fused=1, fused_norms=0, final_norm=1, norms=2, norm_weights=1, norm_flops=3, streams=0,
        angle_products=0, scaled_embedding=0, table_norm=0, **_UNSHARED,
    )  # fmt: skip
    once = CountedOperator()
    counts = Counts((once,) * len(Layer._fields), (once,) * len(Ends._fields), (), ())
    group = Group(1, 2, attention, forward, NO_RECURRENT)
    return Architecture(backbone, (group,), None, arch.convention, counts, Checkpoint())


def changed_inputs(arch: Architecture, draft: int) -> dict[str, int]:
    """Inputs of a point that its draft has otherwise: it lies on one pipeline stage.

    An MTP layer has the heads and formats of the model; other drafts have their own, and share
    experts among devices only where they have some.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    draft : int
        As `draft_of` takes it.
    """
    changed = {"pipeline_parallel": 1, "decode_context_parallel": 1}
    if draft == DRAFTS.index(MTP):
        return changed
    own = draft_of(arch, draft)
    formats = {"weight_format": 0, "activation_format": own_activation(own)}
    changed |= {"attention_heads": 0, "key_value_heads": 0, **formats}
    return changed if own.routings else changed | {"expert_parallel": 1}


def drafted(arch: Architecture, point: Point) -> tuple[Architecture, Point]:
    """The draft of a point as a model, and the point as that sees it."""
    return draft_of(arch, point.draft), point._replace(**changed_inputs(arch, point.draft))


def step_of(point: Point) -> DecodeStep:
    """A decode step of the model at a point."""
    return verification(point.draft_tokens, point.accepted_tokens)


def drafting_of(point: Point) -> DecodeStep:
    """A decode step of the draft at a point."""
    return drafting(point.draft_tokens, point.accepted_tokens)


def draft_layout(arch: Architecture, draft: int, layout: Layout) -> Layout:
    """The layout of a draft on the devices of one pipeline stage of the model's layout.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    draft : int
        As `draft_of` takes it.
    layout : Layout
        Of the model.
    """
    changed = changed_inputs(arch, draft)
    expert = changed.get("expert_parallel", layout.expert)
    return Layout(layout.tensor, expert, 1, layout.data, 1)
